// Converts colours of older workflows, which may be CSS words, to #rrggbb, the only form that the page's swatch shows.

import { app } from "../../scripts/app.js";

function asHex(text) {
    const pen = document.createElement("canvas").getContext("2d");
    pen.fillStyle = "#010203"; // stays if the text is no colour
    pen.fillStyle = text;
    return pen.fillStyle === "#010203" ? text : pen.fillStyle;
}

app.registerExtension({
    name: "biref.colours",

    nodeCreated(node) {
        const widget = node.widgets?.find(widget => widget.name === "colour" && widget.type === "color");
        if (!widget || !node.comfyClass?.startsWith("BiRef")) return;
        const configured = node.onConfigure;
        node.onConfigure = function (...rest) {
            const result = configured?.apply(this, rest);
            if (typeof widget.value === "string" && !/^#[0-9a-f]{6}$/i.test(widget.value)) widget.value = asHex(widget.value);
            return result;
        };
    },
});
