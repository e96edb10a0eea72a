// Refine Edges and Hair: the cut-out before and after, on the two sides of a line that follows the pointer.

import { app } from "../../scripts/app.js";
import { loadPicture, onExecuted } from "./view.js";
import { addPicture, squares } from "./picture.js";

app.registerExtension({
    name: "biref.compare",

    nodeCreated(node) {
        if (node.comfyClass !== "BiRefEdgeRefine") return;
        let view = null, before = null, after = null, size = [0, 0], split = 0.5;

        /** Draws the part of a picture between x = left and x = right, in its pixels. */
        function half(context, picture, left, right) {
            context.save();
            context.beginPath();
            context.rect(left, 0, right - left, size[1]);
            context.clip();
            context.drawImage(picture, 0, 0, ...size);
            context.restore();
        }

        function label(context, text, x, align, scale) {
            context.font = `${12 * scale}px sans-serif`;
            context.textAlign = align;
            context.textBaseline = "top";
            context.lineWidth = 3 * scale;
            context.strokeStyle = "#000";
            context.fillStyle = "#fff";
            context.strokeText(text, x, 5 * scale);
            context.fillText(text, x, 5 * scale);
        }

        function paint(context, scale) {
            const x = split * size[0];
            context.fillStyle = squares(context);
            context.fillRect(0, 0, ...size);
            half(context, before, 0, x);
            half(context, after, x, size[0]);
            for (const [colour, width] of [["#000", 4], ["#fff", 2]]) { // visible on light and on dark pictures
                context.fillStyle = colour;
                context.fillRect(x - width / 2 * scale, 0, width * scale, size[1]);
            }
            label(context, "before", 5 * scale, "left", scale);
            label(context, "after", size[0] - 5 * scale, "right", scale);
        }

        onExecuted(node, async output => {
            const [first] = output.biref_before ?? [], [second] = output.biref_after ?? [];
            if (!first || !second) return;
            const both = await Promise.all([loadPicture(first), loadPicture(second)]);
            if (both.includes(null)) return;
            [before, after] = both;
            size = [first.width, first.height];
            if (!view) {
                view = addPicture(node, "compare", "", paint);
                view.canvas.addEventListener("pointermove", event => {
                    split = view.at(event).x / size[0];
                    view.draw();
                });
            }
            view.resize(...size);
        });
    },
});
