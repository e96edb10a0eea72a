// Shared by the views of this pack: HTML widgets, which look the same on the classic canvas and in Nodes 2.0. They are
// neither saved with the workflow nor sent with the prompt.

import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";

const LOOK = 200; // milliseconds between checks for a result that the page restores
const LOOKS = 40; // number of checks: a large workflow on a busy machine takes seconds
const MARGINS = 20; // pixels above and below an HTML widget, together
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

/** Adds the element `box` at the bottom of a node. height(): pixels that it needs now, 0 to hide it. */
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

/** Makes a node as high as its widgets need, but not lower or narrower than the user made it. */
export function grow(node) {
    const needed = node.computeSize?.();
    if (!needed) return;
    if (node.size[1] < needed[1]) node.setSize([Math.max(node.size[0], needed[0]), needed[1]]);
    node.setDirtyCanvas?.(true, true);
}

/** Calls `changed` when one of these widgets gets another value, from the user, a workflow or another script. */
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

/** Sets a widget as the user would: its callback is called. */
export function setWidget(node, name, value) {
    const widget = node.widgets?.find(widget => widget.name === name);
    if (!widget || widget.value === value) return;
    widget.value = value;
    widget.callback?.(value, app.canvas, node);
}

export const valueOf = (node, name) => node.widgets?.find(widget => widget.name === name)?.value;

/**
 * Calls `shown(output)` with the node's `ui` after it has run, and again when the page rebuilds the node with that
 * result, as it does to undo a change or to open another tab. output is never null.
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
    function look(times) { // the page restores results only after it has built all nodes
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

/** Loads a picture that a node saved; null if it no longer exists. */
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

/** The node of an execution id: "4", "7:4" (in subgraph 7), or "4.0.0.2" (of a graph that replaces node 4). */
export function nodeOf(id) {
    let graph = app.rootGraph ?? app.graph, node = null;
    for (const part of String(id).split(".")[0].split(":")) {
        node = graph?.getNodeById(Number(part)) ?? graph?.getNodeById(part);
        graph = node?.subgraph;
    }
    return node;
}
