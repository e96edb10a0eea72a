// A canvas on a node: shows pictures as wide as the node, and converts the pointer's position to pixels of the picture.

import { addView, element, grow } from "./view.js";

const HIGHEST = 420; // pixels of the node: largest height of the picture
const TOOLS = 28;    // pixels of the node: height of the row of buttons
const SHARP = 2;     // canvas pixels per pixel of the node: sharp up to this zoom
const SIDES = 30;    // pixels of the node beside the picture, left and right together

/** A checkerboard as a fill style, on which transparency shows. */
export const squares = context => {
    const tile = element("canvas", { width: 16, height: 16 }), pen = tile.getContext("2d");
    pen.fillStyle = "#fff";
    pen.fillRect(0, 0, 16, 16);
    pen.fillStyle = "#ccc";
    pen.fillRect(0, 0, 8, 8);
    pen.fillRect(8, 8, 8, 8);
    return context.createPattern(tile, "repeat");
};

/**
 * Adds the view at the bottom of a node.
 *
 * paint(context, scale) draws in pixels of the picture; scale: pixels of the picture per pixel of the node. hint: the
 * text below. Returns { canvas, tools, say(text), resize(width, height), draw(), at(event) }: tools is the row for
 * buttons; say changes the hint; resize takes the picture's size, 0 to hide it; at returns the pointer's position x, y
 * in pixels of the picture, and `near`, the distance within which a press hits a handle.
 */
export function addPicture(node, name, hint, paint) {
    const canvas = element("canvas", {}, { display: "none", width: "100%", touchAction: "none", borderRadius: "4px" });
    const tools = element("div", {}, { display: "flex", gap: "4px", alignItems: "center", flexWrap: "wrap", padding: "2px 0" });
    const text = element("div", { textContent: hint });
    const box = element("div", {}, { boxSizing: "border-box", overflow: "hidden" });
    box.append(canvas, tools, text);
    let size = null;

    const shownHeight = () => size ? Math.min(HIGHEST, (node.size[0] - SIDES) * size[1] / size[0]) : 0;
    const height = () => Math.round(shownHeight() + (tools.childElementCount ? TOOLS : 0) + (text.textContent ? 36 : 0));
    addView(node, name, box, height);

    const scale = () => size[0] / (canvas.width / SHARP);

    function draw() {
        if (!size) return;
        const high = shownHeight(), wide = high * size[0] / size[1];
        Object.assign(canvas.style, { display: "block", width: `${wide}px`, height: `${high}px`, margin: "0 auto" });
        canvas.width = Math.max(1, Math.round(wide * SHARP));
        canvas.height = Math.max(1, Math.round(high * SHARP));
        const context = canvas.getContext("2d"), zoom = canvas.width / size[0];
        context.setTransform(zoom, 0, 0, zoom, 0, 0);
        paint(context, scale());
    }

    const resized = node.onResize;
    node.onResize = function (...rest) {
        draw();
        return resized?.apply(this, rest);
    };

    return {
        canvas, tools, draw,
        say(words) {
            text.textContent = words;
        },
        resize(width, height) {
            const changed = !size || size[0] !== width || size[1] !== height;
            size = width && height ? [width, height] : null;
            if (!size) canvas.style.display = "none";
            if (changed) grow(node);
            draw();
        },
        at(event) {
            const place = canvas.getBoundingClientRect();
            const clamp = (value, most) => Math.min(Math.max(value, 0), most);
            return {
                x: clamp((event.clientX - place.left) / place.width * size[0], size[0]),
                y: clamp((event.clientY - place.top) / place.height * size[1], size[1]),
                near: 9 * size[0] / place.width,
            };
        },
    };
}

/**
 * Follows the pointer from press to release on the canvas, and keeps the page from moving the node meanwhile.
 *
 * begin(event) returns { move(event), end(event) }, both optional, or null to ignore the press.
 */
export function onDrag(canvas, begin) {
    canvas.addEventListener("contextmenu", event => {
        event.preventDefault();
        event.stopPropagation();
    });
    canvas.addEventListener("pointerdown", event => {
        event.stopPropagation();
        const drag = begin(event);
        if (!drag) return;
        event.preventDefault();
        canvas.setPointerCapture(event.pointerId);
        const move = moved => {
            moved.stopPropagation();
            drag.move?.(moved);
        };
        const end = ended => {
            ended.stopPropagation();
            canvas.removeEventListener("pointermove", move);
            canvas.removeEventListener("pointerup", end);
            canvas.removeEventListener("pointercancel", end);
            drag.end?.(ended);
        };
        canvas.addEventListener("pointermove", move);
        canvas.addEventListener("pointerup", end);
        canvas.addEventListener("pointercancel", end);
    });
}
