/** The map's library knows mouse and wheel only: one finger is a mouse, two are a wheel. */

export function fingersAsMouse(canvas: HTMLCanvasElement): void {
  let spread = 0;
  let start: Touch | null = null;
  let pressed = false;

  canvas.addEventListener("touchstart", (event) => {
    event.preventDefault();
    spread = spreadOf(event.touches);
    if (event.touches.length > 1) return release(event);
    const finger = (start = event.touches[0]!);
    send("mouseenter", finger);
    send("mousemove", finger);
    // the library's camera takes the way here for a drag unless a frame lies between
    requestAnimationFrame(() => requestAnimationFrame(() => {
      if (start !== finger) return;
      pressed = true;
      send("mousedown", finger);
    }));
  }, { passive: false });

  canvas.addEventListener("touchmove", (event) => {
    event.preventDefault();
    if (event.touches.length === 1) return pressed ? send("mousemove", event.touches[0]!) : undefined;
    const now = spreadOf(event.touches);
    const [a, b] = [event.touches[0]!, event.touches[1]!];
    const place = { clientX: (a.clientX + b.clientX) / 2, clientY: (a.clientY + b.clientY) / 2 };
    canvas.dispatchEvent(new WheelEvent("wheel", { ...place, deltaY: (spread - now) * 1.5, bubbles: true, cancelable: true }));
    spread = now;
  }, { passive: false });

  canvas.addEventListener("touchend", (event) => {
    event.preventDefault();
    const end = event.changedTouches[0]!;
    const tapped = start !== null && Math.hypot(end.clientX - start.clientX, end.clientY - start.clientY) < 8;
    release(event);
    if (tapped) send("click", end);
    send("mouseleave", end);
  }, { passive: false });

  canvas.addEventListener("touchcancel", release);

  function release(event: TouchEvent): void {
    if (start && pressed) send("mouseup", event.changedTouches[0] ?? start);
    start = null;
    pressed = false;
  }

  function send(type: string, { clientX, clientY }: { clientX: number; clientY: number }): void {
    const buttons = pressed && type !== "mouseup" ? 1 : 0;
    canvas.dispatchEvent(new MouseEvent(type, { clientX, clientY, buttons, bubbles: true, cancelable: true, view: window }));
  }
}

function spreadOf(touches: TouchList): number {
  const [a, b] = [touches[0], touches[1]];
  return a && b ? Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY) : 0;
}
