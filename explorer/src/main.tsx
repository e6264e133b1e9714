import { render } from "preact";
import { App } from "./App";
import { start } from "./actions";
import "./styles/base.css";
import "./styles/map.css";
import "./styles/panel.css";

render(<App />, document.getElementById("explorer")!);
void start();
