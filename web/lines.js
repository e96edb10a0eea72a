// The line on a node: progress while it runs, then its result or warnings, until it runs again. A picture of the work
// in progress is shown only while the node runs. Nothing is saved with the workflow.

import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";
import { addView, element, grow, nodeOf, onExecuted } from "./view.js";
import { addPicture } from "./picture.js";

const WARNING = "#e0a040";
const LINE = 18; // pixels: height of a line of the text that view.js sets
const MOST_LINES = 6; // beyond these, the text scrolls

const views = new WeakMap(); // node → its line
const works = new WeakMap(); // node → its view of the work in progress
const working = new Set();   // nodes whose view of the work is shown now
const cleared = new Set();   // nodes whose line from the last run has been cleared in this run

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
    const letters = Math.max(1, (node.size[0] - 30) / 6.2); // per line: about 6.2 pixels each
    const lines = Math.min(MOST_LINES, Math.max(1, Math.ceil(view.box.textContent.length / letters)));
    view.height = LINE * lines;
    grow(node);
}

async function showWork(node, url) {
    const picture = new Image();
    picture.src = url;
    await picture.decode();
    let work = works.get(node);
    if (!work) {
        work = { view: addPicture(node, "work", "", context => context.drawImage(work.picture, 0, 0)) };
        works.set(node, work);
    }
    if (!working.has(node)) return; // the node has finished meanwhile
    work.picture = picture;
    work.view.resize(picture.naturalWidth, picture.naturalHeight);
}

function endWork(node) {
    working.delete(node);
    works.get(node)?.view.resize(0, 0);
}

function clear(node) {
    const view = views.get(node);
    if (!view) return;
    view.warnings = [];
    view.box.textContent = "";
}

function began(id) {
    const node = id == null ? null : nodeOf(id);
    if (!node || cleared.has(node)) return; // nodes that replace this one (an expanded graph) run one after another
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
            if (!node) return;
            show(node, detail.text, false);
            if (!detail.picture) return;
            working.add(node);
            showWork(node, detail.picture);
        });
        for (const end of ["execution_success", "execution_error", "execution_interrupted"]) {
            api.addEventListener(end, () => working.forEach(endWork));
        }
    },

    nodeCreated(node) {
        if (!node.comfyClass?.startsWith("BiRef")) return;
        onExecuted(node, output => {
            endWork(node);
            const text = output.biref_line?.at(-1);
            if (!text) return;
            const warning = output.biref_warning?.at(-1);
            if (warning) viewOf(node).warnings.push(text);
            const warnings = views.get(node)?.warnings ?? [];
            show(node, warnings.length ? [...new Set(warnings)].join("; ") : text, warnings.length > 0);
        });
    },
});
