// The model card on nodes that choose a checkpoint: what it is for, its size, licence and memory, and whether it is
// here. A widget without a value draws it, so nothing of it is saved or sent; where anything fails, there is no card.

import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";

const NODES = ["BiRefLoad", "BiRefRemoveBackground"]; // both with a widget `checkpoint`
const ROW = 16;
const ROWS = 6; // always, so that the node keeps its size whatever is chosen
const MARGIN = 15;
const GOOD = "#7fbf7f";
const CARE = "#e0a040";

const shown = new Set(); // the widgets on the canvas
let cards = {};

async function refresh() {
    try {
        const answer = await api.fetchApi("/biref/checkpoints");
        if (answer.ok) cards = await answer.json();
    } catch {
        return; // a card that is not there harms nobody
    }
    for (const widget of shown) widget.triggerDraw?.();
    app.canvas?.setDirty?.(true, false);
}

const inUnits = bytes => bytes < 999.5e6 ? `${Math.round(bytes / 1e6)} MB` : `${(bytes / 1e9).toFixed(1)} GB`;

/** The card's lines, each [text, colour or undefined, rows it may take]. */
function lines(card) {
    if (!card) return [];
    const file = inUnits(card.file);
    if (!card.task) return [["A file of your own: which network it holds is recognised when it is loaded.", , 2], [file]];
    const size = card.size ? card.size.join("×") : "any size";
    return [
        [card.task, , 2],
        [`${size} · file ${file} · memory ${card.size ? "" : "from "}${inUnits(card.memory)}`],
        card.nonCommercial ? [`${card.license}: not for commercial use`, CARE] : [`licence ${card.license}`],
        card.damaged ? ["damaged: set fetch to \"if missing\"", CARE] :
            card.here ? ["on this machine", GOOD] : ["not here: set fetch to \"if missing\"", CARE],
        [card.note, , ROWS],
    ];
}

/** Breaks a text into at most `rows` lines of `width`; what is left over becomes an ellipsis. */
function wrapped(context, text, width, rows) {
    const found = [""];
    for (const word of text.split(" ")) {
        const longer = found.at(-1) ? `${found.at(-1)} ${word}` : word;
        if (context.measureText(longer).width <= width || !found.at(-1)) found[found.length - 1] = longer;
        else found.push(word);
    }
    const kept = found.slice(0, rows);
    let last = kept.at(-1) + (found.length > rows ? "…" : "");
    while (context.measureText(last).width > width && last.length > 2) last = `${last.slice(0, -2)}…`;
    return [...kept.slice(0, -1), last];
}

function draw(context, node, width, y) {
    const checkpoint = node.widgets.find(widget => widget.name === "checkpoint");
    const linked = node.inputs?.some(input => input.widget?.name === "checkpoint" && input.link != null);
    if (!checkpoint || linked) return; // who knows what another node will choose
    context.save();
    context.font = "12px sans-serif";
    context.textAlign = "left";
    context.textBaseline = "top";
    let row = 0;
    for (const [text, colour, rows] of lines(cards[checkpoint.value])) {
        if (!text || row === ROWS) continue;
        context.fillStyle = colour ?? globalThis.LiteGraph?.WIDGET_SECONDARY_TEXT_COLOR ?? "#999";
        for (const line of wrapped(context, text, width - 2 * MARGIN, Math.min(rows ?? 1, ROWS - row))) {
            context.fillText(line, MARGIN, y + 4 + ROW * row++);
        }
    }
    context.restore();
}

app.registerExtension({
    name: "biref.card",

    setup() {
        api.addEventListener("execution_success", refresh); // the run may have fetched something
        return refresh();
    },

    refreshComboInNodes: refresh,

    nodeCreated(node) {
        if (!NODES.includes(node.comfyClass)) return;
        const card = node.addCustomWidget({
            name: "card", type: "biref_card", value: "", draw, serialize: false, options: { serialize: false },
            computeSize: width => [width ?? 0, ROWS * ROW + 8],
        });
        shown.add(card);
        const removed = node.onRemoved;
        node.onRemoved = function (...rest) {
            shown.delete(card);
            return removed?.apply(this, rest);
        };
        const checkpoint = node.widgets.find(widget => widget.name === "checkpoint");
        const chosen = checkpoint.callback;
        checkpoint.callback = function (...rest) {
            const result = chosen?.apply(this, rest);
            card.triggerDraw?.(); // on pages that draw each widget by itself
            return result;
        };
        node.setSize?.(node.computeSize());
    },
});
