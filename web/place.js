// Composite: the subject is dragged on the result's preview. The widgets x, y and scale follow; light, shadow and blur
// are drawn when the node runs again.

import { app } from "../../scripts/app.js";
import { isLinked, loadPicture, onExecuted, setWidget, valueOf, watchWidgets } from "./view.js";
import { addPicture, onDrag, squares } from "./picture.js";

const FRAME = "#ffd400";

app.registerExtension({
    name: "biref.place",

    nodeCreated(node) {
        if (node.comfyClass !== "BiRefComposite") return;
        let view = null, told = null, subject = null, background = null;

        const settings = () => ({ x: Number(valueOf(node, "x")), y: Number(valueOf(node, "y")), scale: Number(valueOf(node, "scale")) });

        /** Where the subject's picture is on the canvas, and canvas pixels for one of its pixels. */
        function placed({ x, y, scale }) {
            return {
                left: told.left + (scale - 1) * told.left_per_scale + x, top: told.top + (scale - 1) * told.top_per_scale + y,
                zoom: told.zoom * scale,
            };
        }

        function box() {
            const { left, top, zoom } = placed(settings());
            const [x0, y0, x1, y1] = told.box;
            return [left + zoom * x0, top + zoom * y0, zoom * (x1 - x0), zoom * (y1 - y0)];
        }

        function paint(context, scale) {
            context.fillStyle = squares(context);
            context.fillRect(0, 0, told.width, told.height);
            if (background) context.drawImage(background, 0, 0, told.width, told.height);
            const { left, top, zoom } = placed(settings());
            context.globalAlpha = Number(valueOf(node, "opacity") ?? 1);
            context.drawImage(subject, left, top, zoom * told.subject.width, zoom * told.subject.height);
            context.globalAlpha = 1;
            const [x, y, width, height] = box();
            context.lineWidth = scale;
            context.strokeStyle = FRAME;
            context.strokeRect(x, y, width, height);
            context.fillStyle = FRAME;
            context.fillRect(x + width - 5 * scale, y + height - 5 * scale, 10 * scale, 10 * scale);
        }

        const free = name => !isLinked(node, name);
        const set = (name, value, step) => free(name) && setWidget(node, name, Math.round(value / step) * step);

        function rescale(scale) {
            set("scale", Math.round(100 * Math.min(16, Math.max(0.01, scale))) / 100, 0.01);
        }

        function begin(event) {
            const start = view.at(event), old = settings(), [x, y, width, height] = box();
            const corner = Math.hypot(x + width - start.x, y + height - start.y) < 1.5 * start.near;
            app.canvas?.emitBeforeChange?.();
            return {
                move(moved) {
                    const to = view.at(moved);
                    if (corner) {
                        const anchor = [x + width / 2, y + height / 2];
                        rescale(old.scale * Math.hypot(to.x - anchor[0], to.y - anchor[1])
                            / Math.max(1, Math.hypot(start.x - anchor[0], start.y - anchor[1])));
                    } else {
                        set("x", old.x + to.x - start.x, 1);
                        set("y", old.y + to.y - start.y, 1);
                    }
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
                view.canvas.style.cursor = "move";
                view.canvas.title = "Drag the subject; drag its corner, or turn the wheel, to scale it";
                view.canvas.addEventListener("wheel", event => {
                    event.preventDefault();
                    event.stopPropagation();
                    rescale(settings().scale * 1.05 ** -Math.sign(event.deltaY));
                    view.draw();
                }, { passive: false });
                watchWidgets(node, ["x", "y", "scale", "opacity"], () => view.draw());
            }
            view.resize(told.width, told.height);
        });
    },
});
