// What the views of this pack share: widgets of HTML, which look the same on the classic canvas and in Nodes 2.0, and
// of which nothing is saved with the workflow or sent with the prompt.

import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";

const LOOK = 200; // milliseconds between looks for a result that the page brings back
const LOOKS = 40; // a large workflow on a busy machine takes seconds
const MARGINS = 20; // pixels that the page leaves above and below a widget of HTML, together
const TEXT = { font: "12px/1.35 sans-serif", color: "var(--input-text, #bbb)", overflowWrap: "anywhere" };

export function element(kind, properties = {}, style = {}) {
    const made = Object.assign(document.createElement(kind), properties);
    Object.assign(made.style, style);
    return made;
}

export function button(text, pressed, title = "") {
    const made = element("button", { textContent: text, title, type: "button" }, {
        cursor: "pointer", font: "inherit", color: "inherit", background: "var(--comfy-input-bg, #222)",
        border: "1px solid var(--border-color, #555)", borderRadius: "4px", padding: "2px 8px",
    });
    made.addEventListener("pointerdown", event => event.stopPropagation()); // else the page drags the node
    made.addEventListener("click", pressed);
    return made;
}

/** Adds `box` at the bottom of a node; height(): pixels that it needs now, 0 to be out of sight. */
export function addView(node, name, box, height) {
    for (const [key, value] of Object.entries(TEXT)) box.style[key] ||= value;
    const whole = () => height() ? height() + MARGINS : 0;
    const widget = node.addDOMWidget(name, `biref_${name}`, box, {
        serialize: false, hideOnZoom: false, getMinHeight: whole, getMaxHeight: whole, getValue: () => "", setValue() {},
    });
    widget.serialize = false;
    widget.computeLayoutSize ??= () => ({ minHeight: whole(), maxHeight: whole(), minWidth: 0 });
    grow(node);
    return widget;
}

/** Makes a node as high as its widgets need; never lower, nor narrower, than its user made it. */
export function grow(node) {
    const needed = node.computeSize?.();
    if (!needed) return;
    if (node.size[1] < needed[1]) node.setSize([Math.max(node.size[0], needed[0]), needed[1]]);
    node.setDirtyCanvas?.(true, true);
}

/** Calls `changed` whenever one of these widgets gets another value, by a person, a workflow or another script. */
export function watchWidgets(node, names, changed) {
    for (const widget of node.widgets ?? []) {
        if (!names.includes(widget.name)) continue;
        const chosen = widget.callback;
        widget.callback = function (...rest) {
            const result = chosen?.apply(this, rest);
            changed();
            return result;
        };
    }
    const configured = node.onConfigure;
    node.onConfigure = function (...rest) {
        const result = configured?.apply(this, rest);
        changed();
        return result;
    };
}

/** Whether another node gives this input its value. */
export function isLinked(node, name) {
    const slot = node.inputs?.findIndex(input => input.name === name) ?? -1;
    return slot >= 0 && node.isInputConnected(slot);
}

export function setWidget(node, name, value) {
    const widget = node.widgets?.find(widget => widget.name === name);
    if (!widget || widget.value === value) return;
    widget.value = value;
    widget.callback?.(value, app.canvas, node);
}

export const valueOf = (node, name) => node.widgets?.find(widget => widget.name === name)?.value;

/**
 * Calls `shown(output)` with what the node's `ui` gave when it has run, and again where the page builds the node anew
 * with that result, as it does to undo a change or to open another tab; output is never null.
 */
export function onExecuted(node, shown) {
    let given = false;
    const give = output => {
        given = true;
        shown(output ?? {});
    };
    const executed = node.onExecuted;
    node.onExecuted = function (output, ...rest) {
        const result = executed?.call(this, output, ...rest);
        give(output);
        return result;
    };
    function look(times) { // the page brings back results only after it has built all nodes
        if (given || !times || !node.graph) return;
        const inside = node.graph !== (app.rootGraph ?? app.graph);
        const output = app.nodeOutputs?.[inside ? `${node.graph.id}:${node.id}` : node.id];
        if (output) give(output);
        else setTimeout(look, LOOK, times - 1);
    }
    const configured = node.onConfigure;
    node.onConfigure = function (...rest) {
        const result = configured?.apply(this, rest);
        setTimeout(look, LOOK, LOOKS);
        return result;
    };
}

/** A picture that a node saved, loaded; null if it is gone. */
export async function loadPicture(file) {
    const picture = new Image();
    picture.src = api.apiURL(`/view?${new URLSearchParams({
        filename: file.filename, subfolder: file.subfolder ?? "", type: file.type ?? "input",
    })}`);
    try {
        await picture.decode();
        return picture;
    } catch {
        return null;
    }
}

/** The node of an execution id such as "4" or "7:4" (in subgraph 7), also for what a node has put in its place (4.0.0.2). */
export function nodeOf(id) {
    let graph = app.rootGraph ?? app.graph, node = null;
    for (const part of String(id).split(".")[0].split(":")) {
        node = graph?.getNodeById(Number(part)) ?? graph?.getNodeById(part);
        graph = node?.subgraph;
    }
    return node;
}
