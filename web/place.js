// Composite: the subject is dragged on the result's preview. The widgets x, y, scale and rotation follow; light, shadow
// and blur are drawn when the node runs again.

import { app } from "../../scripts/app.js";
import { isLinked, loadPicture, onExecuted, setWidget, valueOf, watchWidgets } from "./view.js";
import { addPicture, onDrag, squares } from "./picture.js";

const FRAME = "#ffd400"; // colour
const STEM = 22;   // pixels of the node between the frame and the handle that rotates it
const MARGIN = 10; // pixels of the node between a handle and the picture's border, at least
const SNAP = 15;   // degrees: steps of the rotation with the shift key

app.registerExtension({
    name: "biref.place",

    nodeCreated(node) {
        if (node.comfyClass !== "BiRefComposite") return;
        let view = null, told = null, subject = null, background = null;

        const settings = () => {
            const [x, y, scale, rotation] = ["x", "y", "scale", "rotation"].map(name => Number(valueOf(node, name) ?? 0));
            return { x, y, scale, rotation };
        };

        /** The corner of the subject's picture on the canvas before rotation, and canvas pixels per pixel of the picture. */
        function placed({ x, y, scale }) {
            return {
                left: told.left + (scale - 1) * told.left_per_scale + x, top: told.top + (scale - 1) * told.top_per_scale + y,
                zoom: told.zoom * scale,
            };
        }

        /** The subject's frame on the canvas: middle, sides, angle, handles. scale: see paint in picture.js. */
        function frame(scale) {
            const now = settings(), { left, top, zoom } = placed(now);
            const [x0, y0, x1, y1] = told.box, width = zoom * (x1 - x0), height = zoom * (y1 - y0);
            const x = left + zoom * (x0 + x1) / 2, y = top + zoom * (y0 + y1) / 2, angle = now.rotation * Math.PI / 180;
            const inside = (value, most) => Math.min(Math.max(value, MARGIN * scale), most - MARGIN * scale);
            // Handles beyond the border could not be grabbed.
            const handle = (right, down) => ({
                x: inside(x + Math.cos(angle) * right - Math.sin(angle) * down, told.width),
                y: inside(y + Math.sin(angle) * right + Math.cos(angle) * down, told.height),
            });
            return {
                x, y, width, height, angle, corner: handle(width / 2, height / 2), top: handle(0, -height / 2),
                turner: handle(0, -height / 2 - STEM * scale),
            };
        }

        function paint(context, scale) {
            context.fillStyle = squares(context);
            context.fillRect(0, 0, told.width, told.height);
            if (background) context.drawImage(background, 0, 0, told.width, told.height);
            const { x, y, width, height, angle, corner, top, turner } = frame(scale), { left, top: above, zoom } = placed(settings());
            context.save();
            context.translate(x, y);
            context.rotate(angle);
            context.globalAlpha = Number(valueOf(node, "opacity") ?? 1);
            context.drawImage(subject, left - x, above - y, zoom * told.subject.width, zoom * told.subject.height);
            context.globalAlpha = 1;
            context.lineWidth = scale;
            context.strokeStyle = FRAME;
            context.strokeRect(-width / 2, -height / 2, width, height);
            context.restore();
            context.beginPath();
            context.moveTo(top.x, top.y);
            context.lineTo(turner.x, turner.y);
            context.stroke();
            context.fillStyle = FRAME;
            context.beginPath();
            context.arc(turner.x, turner.y, 6 * scale, 0, 2 * Math.PI);
            context.fill();
            context.fillRect(corner.x - 5 * scale, corner.y - 5 * scale, 10 * scale, 10 * scale);
        }

        const set = (name, value, decimals) => isLinked(node, name) || setWidget(node, name, Number(value.toFixed(decimals)));
        const rescale = scale => set("scale", Math.min(16, Math.max(0.01, scale)), 2);

        function begin(event) {
            const start = view.at(event), old = settings(), { x, y, corner, turner } = frame(start.near / 9);
            const hits = handle => Math.hypot(handle.x - start.x, handle.y - start.y) < 1.5 * start.near;
            const reach = at => Math.max(1, Math.hypot(at.x - x, at.y - y));
            const bearing = at => Math.atan2(at.y - y, at.x - x) * 180 / Math.PI;
            const kinds = {
                turn(to, event) {
                    const turned = old.rotation + bearing(to) - bearing(start);
                    const snapped = event.shiftKey ? SNAP * Math.round(turned / SNAP) : turned;
                    set("rotation", snapped - 360 * Math.round(snapped / 360), 1);
                },
                scale: to => rescale(old.scale * reach(to) / reach(start)),
                move(to) {
                    set("x", old.x + to.x - start.x, 0);
                    set("y", old.y + to.y - start.y, 0);
                },
            };
            const kind = hits(turner) ? "turn" : hits(corner) ? "scale" : "move";
            app.canvas?.emitBeforeChange?.();
            view.canvas.focus({ preventScroll: true });
            return {
                move(moved) {
                    kinds[kind](view.at(moved), moved);
                    view.draw();
                },
                end: () => app.canvas?.emitAfterChange?.(),
            };
        }

        onExecuted(node, async output => {
            const [place] = output.biref_place ?? [];
            if (!place) return;
            const layers = await Promise.all([place.background && loadPicture(place.background), loadPicture(place.subject)]);
            if (!layers[1]) return;
            told = place;
            [background, subject] = layers;
            if (!view) {
                view = addPicture(node, "place", "", paint);
                onDrag(view.canvas, begin);
                Object.assign(view.canvas.style, { cursor: "move", outline: "none" });
                view.canvas.tabIndex = -1;
                view.canvas.dataset.captureWheel = "true"; // else Nodes 2.0 zooms the graph, even if the canvas has the focus
                view.canvas.title = "Drag the subject; drag its corner, or turn the mouse wheel after a click, to scale it; "
                    + "drag the round handle to turn it, with shift in steps of 15 degrees";
                view.canvas.addEventListener("wheel", event => {
                    if (document.activeElement !== view.canvas) return; // the wheel zooms the graph
                    event.preventDefault();
                    event.stopPropagation();
                    rescale(settings().scale * 1.05 ** -Math.sign(event.deltaY));
                    view.draw();
                }, { passive: false });
                watchWidgets(node, ["x", "y", "scale", "rotation", "opacity"], () => view.draw());
            }
            view.resize(told.width, told.height);
        });
    },
});
