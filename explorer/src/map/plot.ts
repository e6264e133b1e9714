/**
 * The drawn map: regl-scatterplot with places in 0..1, stretched to fill its box (the axes of such a map mean nothing).
 * Also what the library lacks: where an empty place is, and fingers.
 */

import createScatterplot from "regl-scatterplot";
import { fingersAsMouse } from "./fingers";

/** Centre in the library's units and the camera's distance from it. */
export type View = [x: number, y: number, distance: number];

export interface PlotEvents {
  onHover(row: number | null): void;
  onClick(row: number | null, place: [number, number], event: MouseEvent): void;
  onLasso(rows: number[]): void;
  onView(): void;
}

/** Share of the box that the entities fill. */
const FILL = 0.88;
/** CSS pixels within which a click means an entity. */
const REACH = { mouse: 10, finger: 18 };
const WHOLE: View = [0, 0, 1];

/** What the map shows; colours as #rrggbb. */
export interface Drawing {
  x: Float32Array;
  y: Float32Array;
  /** Group of each entity, an index into the groups' colours. */
  groups: Uint8Array;
  colours: { groups: string[]; background: string; accent: string };
}

export class Plot {
  private readonly plot: ReturnType<typeof createScatterplot>;
  private readonly canvas: HTMLCanvasElement;
  private readonly events: PlotEvents;
  private readonly resizing: ResizeObserver;
  private x: Float32Array = new Float32Array();
  private y: Float32Array = new Float32Array();
  private groups: Uint8Array = new Uint8Array();
  private only: number | null = null;
  private matrix: ArrayLike<number> = [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1];
  private width = 1;
  private height = 1;
  private pressed: [number, number] = [0, 0];
  private quiet = false;
  private drawing: Promise<void> = Promise.resolve();

  /** Throws where the browser has no WebGL. */
  constructor(canvas: HTMLCanvasElement, events: PlotEvents) {
    this.canvas = canvas;
    this.events = events;
    this.plot = createScatterplot({
      canvas,
      opacity: 0.85,
      actionKeyMap: { lasso: "shift" },
      deselectOnDblClick: false,
      deselectOnEscape: false,
      lassoClearEvent: "lassoEnd",
      lassoMinDelay: 0,
      cameraDistance: 1,
      showReticle: false,
      spatialIndexUseWorker: false,
      // its types still have the older keyMap
    } as object);
    this.plot.subscribe("view", ({ view }) => this.moved(view as ArrayLike<number>));
    this.plot.subscribe("pointOver", (row) => events.onHover(row as unknown as number));
    this.plot.subscribe("pointOut", () => events.onHover(null));
    this.plot.subscribe("select", ({ points }) => this.selected(points as number[]));
    canvas.addEventListener("mousedown", (event) => (this.pressed = [event.clientX, event.clientY]));
    canvas.addEventListener("click", (event) => this.clicked(event));
    fingersAsMouse(canvas);
    this.resizing = new ResizeObserver(() => this.resize());
    this.resizing.observe(canvas.parentElement!);
    this.resize();
  }

  /** Draws once what is being drawn is done, a transition included: the library refuses to be disturbed. */
  draw(drawing: Drawing): Promise<void> {
    this.drawing = this.drawing.catch(() => {}).then(() => this.drawNow(drawing));
    return this.drawing;
  }

  private async drawNow({ x, y, groups, colours }: Drawing): Promise<void> {
    const transition = !still() && x.length === this.x.length && x.length <= 20_000;
    this.paint(colours);
    this.x = x;
    this.y = y;
    this.groups = groups;
    this.plot.set({ colorBy: "valueA", pointSize: sizeFor(x.length) * (this.width < 500 ? 0.75 : 1), pointSizeSelected: 1, pointOutlineWidth: 1.5 } as never);
    await this.plot.draw(
      { x: Float32Array.from(x, toGl), y: Float32Array.from(y, toGl), valueA: groups },
      { zDataType: "categorical", transition, transitionDuration: 700 } as never,
    );
    if (this.only !== null) await this.show(this.only);
    this.events.onView();
  }

  private paint(colours: Drawing["colours"]): void {
    // one colour alone is not a list of categories to the library
    const groups = colours.groups.length > 1 ? colours.groups : [colours.groups[0]!, colours.groups[0]!];
    this.plot.set({
      pointColor: groups,
      pointColorActive: colours.accent,
      pointColorHover: colours.accent,
      backgroundColor: colours.background,
      lassoColor: colours.accent,
    } as never);
  }

  select(rows: number[]): void {
    this.quiet = true;
    if (rows.length) this.plot.select(rows, { preventEvent: true });
    else this.plot.deselect({ preventEvent: true });
    this.quiet = false;
  }

  /** Only the entities of one group, or all. */
  async show(only: number | null): Promise<void> {
    this.only = only;
    const rows = only === null ? [] : Array.from(this.groups.keys()).filter((row) => this.groups[row] === only);
    if (only === null) await this.plot.unfilter();
    else await this.plot.filter(rows);
    this.events.onView();
  }

  private shown(row: number): boolean {
    return this.only === null || this.groups[row] === this.only;
  }

  set lasso(on: boolean) {
    this.plot.set({ mouseMode: on ? "lasso" : "panZoom" } as never);
  }

  get view(): View {
    const [x, y] = this.plot.get("cameraTarget") as [number, number];
    return [x, y, this.plot.get("cameraDistance") as number];
  }

  /** The camera put back where it was. */
  restore([x, y, distance]: View): void {
    void this.plot.zoomToLocation([x, y], distance);
  }

  /** Nearer by the factor, or the whole map without one. */
  zoom(factor?: number): void {
    const [x, y, distance] = factor ? this.view : WHOLE;
    const nearer = Math.min(Math.max(distance / (factor ?? 1), 0.002), 1.6);
    void this.plot.zoomToLocation([x, y], nearer, { transition: !still(), transitionDuration: 250 } as never);
  }

  /** Brings a place into view, if it is outside. */
  reveal(x: number, y: number): void {
    const [left, top] = this.toScreen(x, y);
    if (left > 20 && top > 20 && left < this.width - 20 && top < this.height - 20) return;
    const target = [(toGl(x) * this.width) / this.height, toGl(y)] as [number, number];
    void this.plot.zoomToLocation(target, this.view[2], { transition: !still(), transitionDuration: 400 } as never);
  }

  /** CSS pixels from the box's corner, for a place in 0..1. */
  toScreen(x: number, y: number): [number, number] {
    const m = this.matrix;
    const aspect = this.width / this.height;
    const clipX = m[0]! * toGl(x) + m[12]! / aspect;
    const clipY = m[5]! * toGl(y) + m[13]!;
    return [((clipX + 1) / 2) * this.width, ((1 - clipY) / 2) * this.height];
  }

  toMap(left: number, top: number): [number, number] {
    const m = this.matrix;
    const aspect = this.width / this.height;
    const x = ((2 * left) / this.width - 1 - m[12]! / aspect) / m[0]!;
    const y = (1 - (2 * top) / this.height - m[13]!) / m[5]!;
    return [(x / FILL + 1) / 2, (y / FILL + 1) / 2];
  }

  get box(): { width: number; height: number } {
    return { width: this.width, height: this.height };
  }

  /** Rows that are seen, in order; at most `limit + 1`, so that one more than the limit says "too many". */
  seen(limit: number): number[] {
    const [left, low] = this.toMap(0, this.height);
    const [right, high] = this.toMap(this.width, 0);
    const rows: number[] = [];
    for (let row = 0; row < this.x.length && rows.length <= limit; row++) {
      const x = this.x[row]!;
      const y = this.y[row]!;
      if (x >= left && x <= right && y >= low && y <= high && this.shown(row)) rows.push(row);
    }
    return rows;
  }

  /** The entity nearest to a place on the screen, or in a direction from it; null if none is there. */
  nearest(left: number, top: number, reach: number, toward: [number, number] | null = null): number | null {
    let best = reach * reach;
    let found: number | null = null;
    for (let row = 0; row < this.x.length; row++) {
      if (!this.shown(row)) continue;
      const [px, py] = this.toScreen(this.x[row]!, this.y[row]!);
      const [dx, dy] = [px - left, py - top];
      if (toward) {
        const ahead = dx * toward[0] + dy * toward[1];
        const aside = Math.abs(dx * toward[1]) + Math.abs(dy * toward[0]);
        if (ahead < 1 || aside > ahead) continue;
      }
      const distance = dx * dx + dy * dy;
      if (distance < best) [best, found] = [distance, row];
    }
    return found;
  }

  destroy(): void {
    this.resizing.disconnect();
    this.plot.destroy();
  }

  private moved(view: ArrayLike<number>): void {
    this.matrix = view;
    this.events.onView();
  }

  private selected(rows: number[]): void {
    // the library selects on every click too; only a lasso has more to say than `onClick`
    if (!this.quiet && (rows.length !== 1 || this.plot.get("mouseMode") === "lasso")) this.events.onLasso([...rows]);
  }

  private clicked(event: MouseEvent): void {
    if (event.isTrusted && Math.hypot(event.clientX - this.pressed[0], event.clientY - this.pressed[1]) > 5) return;
    const box = this.canvas.getBoundingClientRect();
    const [left, top] = [event.clientX - box.left, event.clientY - box.top];
    const reach = event.isTrusted ? REACH.mouse : REACH.finger;
    this.events.onClick(this.nearest(left, top, reach), this.toMap(left, top), event);
  }

  private resize(): void {
    const { width, height } = this.canvas.parentElement!.getBoundingClientRect();
    if (!width || !height) return;
    [this.width, this.height] = [width, height];
    this.plot.set({ width, height, aspectRatio: width / height } as never);
    this.events.onView();
  }
}

/** The person has asked for less motion. */
export const still = (): boolean => matchMedia("(prefers-reduced-motion: reduce)").matches;

const toGl = (place: number): number => (place * 2 - 1) * FILL;

/** CSS pixels across. */
const sizeFor = (count: number): number => (count <= 2_000 ? 7 : count <= 20_000 ? 4 : 2.2);
