// The model card on nodes that choose a checkpoint: its purpose, size, licence and memory, whether it is on this
// machine, and a button that downloads it. Nothing is saved with the workflow; after an error there is no card.

import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";
import { addView, button, element, isLinked, watchWidgets } from "./view.js";

const NODES = ["BiRefLoad", "BiRefRemoveBackground"]; // both with the widgets `checkpoint` and `fetch`
const HEIGHT = 128; // pixels, for every checkpoint, so that the node keeps its size
const GOOD = "#7fbf7f";
const CARE = "#e0a040"; // for warnings
const INCLUDED = "birefnet-nano";
const BETTER = "BiRefNet"; // suggested on the card of INCLUDED

const drawn = new Set(); // functions that draw the cards on the canvas
const loading = new Map(); // checkpoint's name → share of its download that is done, 0 to 1, or an error's text
let cards = {}; // checkpoint's name → its card, as nodes/host/card.py makes it

async function refresh() {
    try {
        const answer = await api.fetchApi("/biref/checkpoints");
        if (answer.ok) cards = await answer.json();
    } catch {
        return; // the node works without a card
    }
    for (const draw of drawn) draw();
}

const inUnits = bytes => bytes < 999.5e6 ? `${Math.round(bytes / 1e6)} MB` : `${(bytes / 1e9).toFixed(1)} GB`;

async function download(name) {
    loading.set(name, 0);
    for (const draw of drawn) draw();
    let wrong = "";
    try {
        const answer = await api.fetchApi("/biref/fetch", {
            method: "POST", body: JSON.stringify({ name }), headers: { "Content-Type": "application/json" },
        });
        wrong = answer.ok ? "" : await answer.text();
    } catch (error) {
        wrong = String(error);
    }
    if (wrong) loading.set(name, wrong);
    else loading.delete(name);
    await refresh();
}

/** The line about a checkpoint's file: [text, colour]. mayFetch: whether the node downloads it when missing. */
function state(card, mayFetch) {
    if (card.here && !card.damaged) return ["on this machine", GOOD];
    const size = inUnits(card.file);
    const lacks = card.damaged ? "damaged file" : "not on this machine";
    return [mayFetch ? `${lacks}, will be downloaded: ${size}` : `${lacks} (${size})`, CARE];
}

/** Writes the card of a checkpoint into an element. */
function fill(box, name, mayFetch) {
    box.replaceChildren();
    const card = cards[name];
    if (!card) return;
    const line = (text, colour) => text && box.append(element("div", { textContent: text }, colour ? { color: colour } : {}));
    if (!card.task) {
        line("A file of your own: which network it holds is detected when it is loaded.");
        return line(inUnits(card.file));
    }
    line(card.task);
    const size = card.size ? card.size.join("×") : "any size";
    line(`${size} · file ${inUnits(card.file)} · memory ${card.size ? "" : "from "}${inUnits(card.memory)}`);
    if (card.nonCommercial) line(`${card.license}: not for commercial use`, CARE);
    else line(`licence ${card.license}`);
    const share = loading.get(name);
    if (typeof share === "number") {
        line(`downloading: ${Math.round(100 * share)} %`);
        return box.append(element("progress", { max: 1, value: share }, { width: "100%" }));
    }
    line(...state(card, mayFetch));
    if (!card.here || card.damaged) {
        const fetching = button(`Download ${inUnits(card.file)}`, () => download(name));
        fetching.style.marginTop = "4px";
        box.append(fetching);
    }
    line(typeof share === "string" ? share : card.note, typeof share === "string" ? CARE : undefined);
    if (name === INCLUDED && cards[BETTER]) {
        line(`Hair or several subjects? ${BETTER}, ${inUnits(cards[BETTER].file)}.`);
    }
}

app.registerExtension({
    name: "biref.card",

    setup() {
        api.addEventListener("execution_success", refresh); // the run may have downloaded a checkpoint
        api.addEventListener("biref.fetch", ({ detail }) => {
            loading.set(detail.name, detail.done / Math.max(detail.total, 1));
            for (const draw of drawn) draw();
        });
        return refresh();
    },

    refreshComboInNodes: refresh,

    nodeCreated(node) {
        if (!NODES.includes(node.comfyClass)) return;
        const box = element("div", {}, { overflowY: "auto", boxSizing: "border-box", height: "100%" });
        const value = name => node.widgets.find(widget => widget.name === name)?.value;
        const draw = () => fill(box, isLinked(node, "checkpoint") ? "" : value("checkpoint"), value("fetch"));
        addView(node, "card", box, () => HEIGHT);
        drawn.add(draw);
        const removed = node.onRemoved;
        node.onRemoved = function (...rest) {
            drawn.delete(draw);
            return removed?.apply(this, rest);
        };
        watchWidgets(node, ["checkpoint", "fetch"], draw);
        draw();
    },
});
