// The line on a node: what it does while it runs, and what came of it, or went wrong, when it has run. It stays until
// the node runs again, and nothing of it is saved.

import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";
import { addView, element, grow, nodeOf, onExecuted } from "./view.js";

const WARNING = "#e0a040";
const LINE = 18; // pixels, as view.js sets the text
const MOST_LINES = 6;

const views = new WeakMap(); // node: its line
const cleared = new Set();   // nodes whose last run's line is gone in this run

function viewOf(node) {
    let view = views.get(node);
    if (!view) {
        const box = element("div", {}, { overflowY: "auto", boxSizing: "border-box", userSelect: "text" });
        view = { box, warnings: [], height: LINE };
        views.set(node, view);
        addView(node, "line", box, () => view.height);
    }
    return view;
}

function show(node, text, warning) {
    const view = viewOf(node);
    view.box.textContent = warning ? `⚠ ${text}` : text;
    view.box.style.color = warning ? WARNING : "";
    const letters = Math.max(1, (node.size[0] - 30) / 6.2); // to a line
    const lines = Math.min(MOST_LINES, Math.max(1, Math.ceil(view.box.textContent.length / letters)));
    view.height = LINE * lines;
    grow(node);
}

function clear(node) {
    const view = views.get(node);
    if (!view) return;
    view.warnings = [];
    view.box.textContent = "";
}

function began(id) {
    const node = id == null ? null : nodeOf(id);
    if (!node || cleared.has(node)) return; // nodes in the place of one run one after another
    cleared.add(node);
    clear(node);
}

app.registerExtension({
    name: "biref.lines",

    setup() {
        api.addEventListener("execution_start", () => cleared.clear());
        api.addEventListener("executing", ({ detail }) => began(detail?.display_node ?? detail?.node ?? detail));
        api.addEventListener("biref.line", ({ detail }) => {
            const node = nodeOf(detail.node);
            if (node) show(node, detail.text, false);
        });
    },

    nodeCreated(node) {
        if (!node.comfyClass?.startsWith("BiRef")) return;
        onExecuted(node, output => {
            const text = output.biref_line?.at(-1);
            if (!text) return;
            const warning = output.biref_warning?.at(-1);
            if (warning) viewOf(node).warnings.push(text);
            const warnings = views.get(node)?.warnings ?? [];
            show(node, warnings.length ? [...new Set(warnings)].join("; ") : text, warnings.length > 0);
        });
    },
});
