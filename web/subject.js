// Pick Subject: draws box and points on the picture. They are stored in the node's widgets: x, y, width and height,
// and the texts points and negative_points.

import { app } from "../../scripts/app.js";
import { button, isLinked, loadPicture, onExecuted, setWidget, valueOf, watchWidgets } from "./view.js";
import { addPicture, onDrag } from "./picture.js";

const BOX = "#ffd400", WANTED = "#3ddc5a", UNWANTED = "#ff4d4d";
const HINT = "Connect an image: the box, or points, are drawn on it here.";
const WATCH = 700; // milliseconds between checks for another picture

const watched = new Set(); // functions that check a node

/** Points from a widget's text; [] if it is not valid. */
const read = text => {
    try {
        const listed = JSON.parse(text || "[]");
        return Array.isArray(listed) ? listed.map(point => Array.isArray(point) ? { x: point[0], y: point[1] } : point) : [];
    } catch {
        return [];
    }
};
const written = points => points.length
    ? JSON.stringify(points.map(({ x, y }) => ({ x: Math.floor(x), y: Math.floor(y) }))) : "";

/** The file that the node's image comes from, if the page knows it before a run; else null. */
function sourceOf(node) {
    const slot = node.inputs?.findIndex(input => input.name === "image") ?? -1;
    const origin = slot < 0 ? null : node.getInputNode?.(slot);
    if (!origin) return null;
    const name = origin.comfyClass === "LoadImage" ? valueOf(origin, "image") : null;
    if (name) {
        const [, path, type] = String(name).match(/^(.*?)(?: \[(input|output|temp)\])?$/);
        const cut = path.lastIndexOf("/");
        return { filename: path.slice(cut + 1), subfolder: path.slice(0, Math.max(cut, 0)), type: type ?? "input" };
    }
    const made = app.nodeOutputs?.[origin.id]?.images?.[0];
    return made?.filename ? made : null;
}

app.registerExtension({
    name: "biref.subject",

    setup() {
        setInterval(() => {
            for (const look of watched) look();
        }, WATCH);
    },

    nodeCreated(node) {
        if (node.comfyClass !== "BiRefSubject") return;
        let picture = null, found = null, size = [0, 0], key = "", adding = "points", draft = null;

        const view = addPicture(node, "subject", HINT, (context, scale) => {
            if (!picture) return;
            context.drawImage(picture, 0, 0, ...size);
            if (found) {
                context.fillStyle = "rgb(0 0 0 / 60%)";
                context.fillRect(0, 0, ...size);
                context.drawImage(found, 0, 0, ...size);
            }
            if (hasBox()) paintBox(context, scale);
            paintPoints(context, scale);
        });

        /** Whether a box is drawn: for `box`, and for `mixture` if it has a size. */
        function hasBox() {
            const pick = valueOf(node, "pick");
            return pick === "box" || pick === "mixture"
                && Boolean(draft || Number(valueOf(node, "width")) || Number(valueOf(node, "height")));
        }

        /** The box that is being drawn, or the widgets' one. A size of 0 extends to the border. */
        function box() {
            if (draft) return draft;
            const [x, y, width, height] = ["x", "y", "width", "height"].map(name => Number(valueOf(node, name)) || 0);
            return { x, y, width: width || size[0] - x, height: height || size[1] - y };
        }

        function paintBox(context, scale) {
            if (isLinked(node, "bboxes")) return;
            const { x, y, width, height } = box();
            context.lineWidth = 2 * scale;
            context.strokeStyle = BOX;
            context.strokeRect(x, y, width, height);
            context.fillStyle = BOX;
            for (const [left, top] of [[x, y], [x + width, y], [x, y + height], [x + width, y + height]]) {
                context.fillRect(left - 4 * scale, top - 4 * scale, 8 * scale, 8 * scale);
            }
        }

        const points = name => isLinked(node, name) ? [] : read(valueOf(node, name));

        /** Draws the points; negative points count for every way to pick. */
        function paintPoints(context, scale) {
            const pick = valueOf(node, "pick");
            const wanted = pick === "point" || pick === "mixture" ? points("points") : [];
            const single = pick !== "point" || wanted.length || isLinked(node, "points") ? []
                : [{ x: Number(valueOf(node, "x")), y: Number(valueOf(node, "y")) }];
            const all = [[...wanted, ...single].map(point => [point, WANTED, "+"]),
                points("negative_points").map(point => [point, UNWANTED, "−"])].flat();
            context.lineWidth = 2 * scale;
            context.font = `bold ${13 * scale}px sans-serif`;
            context.textAlign = "center";
            context.textBaseline = "middle";
            for (const [{ x, y }, colour, sign] of all) {
                context.beginPath();
                context.arc(x + 0.5, y + 0.5, 7 * scale, 0, 2 * Math.PI);
                context.fillStyle = colour;
                context.fill();
                context.strokeStyle = "#000";
                context.stroke();
                context.fillStyle = "#000";
                context.fillText(sign, x + 0.5, y + 0.5 + scale);
            }
        }

        // Drawing ---------------------------------------------------------------------------------------------------

        /** Changes widgets as one step of undo. */
        function change(draws) {
            app.canvas?.emitBeforeChange?.();
            draws();
            app.canvas?.emitAfterChange?.();
            found = null; // the result of another choice
            view.draw();
        }

        function dragBox(event) {
            if (isLinked(node, "bboxes")) return null;
            const start = view.at(event), old = box();
            const corners = [[0, 0], [1, 0], [0, 1], [1, 1]].map(([right, low]) => ({
                fixed: { x: old.x + (1 - right) * old.width, y: old.y + (1 - low) * old.height },
                x: old.x + right * old.width, y: old.y + low * old.height,
            }));
            const corner = corners.find(({ x, y }) => Math.hypot(x - start.x, y - start.y) < start.near);
            const whole = old.width >= size[0] && old.height >= size[1];
            const inside = !whole && start.x > old.x && start.x < old.x + old.width
                && start.y > old.y && start.y < old.y + old.height;
            const between = (one, other) => ({
                x: Math.round(Math.min(one.x, other.x)), y: Math.round(Math.min(one.y, other.y)),
                width: Math.max(1, Math.round(Math.abs(one.x - other.x))),
                height: Math.max(1, Math.round(Math.abs(one.y - other.y))),
            });
            const shifted = to => ({
                ...old,
                x: Math.round(Math.min(Math.max(old.x + to.x - start.x, 0), size[0] - old.width)),
                y: Math.round(Math.min(Math.max(old.y + to.y - start.y, 0), size[1] - old.height)),
            });
            return {
                move(moved) {
                    const to = view.at(moved);
                    draft = corner ? between(corner.fixed, to) : inside ? shifted(to) : between(start, to);
                    view.draw();
                },
                end() {
                    const made = draft;
                    draft = null;
                    if (made) change(() => ["x", "y", "width", "height"].forEach(name => setWidget(node, name, made[name])));
                },
            };
        }

        function dragPoint(event) {
            const at = view.at(event);
            const place = ({ x, y }) => ({ x: Math.min(x, size[0] - 1), y: Math.min(y, size[1] - 1) });
            for (const name of ["points", "negative_points"]) {
                const listed = points(name);
                const index = listed.findIndex(({ x, y }) => Math.hypot(x - at.x, y - at.y) < at.near);
                if (index < 0) continue;
                let moved = false;
                return {
                    move(event) {
                        moved = true;
                        listed[index] = place(view.at(event));
                        setWidget(node, name, written(listed));
                        view.draw();
                    },
                    end() {
                        if (!moved) listed.splice(index, 1); // a click on a point removes it
                        change(() => setWidget(node, name, written(listed)));
                    },
                };
            }
            const name = adding === "points" && (event.button === 2 || event.shiftKey) ? "negative_points" : adding;
            if (isLinked(node, name)) return null;
            return { end: () => change(() => setWidget(node, name, written([...points(name), place(at)]))) };
        }

        /** For `mixture`: dragging draws the box or moves a point, a click adds or removes a point. */
        function dragEither(event) {
            const start = view.at(event);
            const held = ["points", "negative_points"].some(
                name => points(name).some(({ x, y }) => Math.hypot(x - start.x, y - start.y) < start.near));
            const asPoint = dragPoint(event), asBox = held ? null : dragBox(event);
            if (!asPoint || !asBox) return asPoint ?? asBox;
            let moved = false;
            return {
                move(to) {
                    const { x, y } = view.at(to);
                    moved ||= Math.hypot(x - start.x, y - start.y) > start.near;
                    if (moved) asBox.move(to);
                },
                end: ended => (moved ? asBox : asPoint).end(ended),
            };
        }

        onDrag(view.canvas, event => {
            if (!picture) return null;
            const drags = { box: dragBox, point: dragPoint, mixture: dragEither };
            return drags[valueOf(node, "pick")]?.(event) ?? null;
        });

        const tool = (text, title, pressed) => view.tools.append(button(text, pressed, title));
        /** Sets the way to pick, except in a mixture, which has all of them. */
        const pickBy = pick => change(() => valueOf(node, "pick") === "mixture" || setWidget(node, "pick", pick));
        tool("Box", "Draw a box around the subject", () => pickBy("box"));
        tool("Point +", "Click on the subject; shift or the right button: on what is not wanted", () => {
            adding = "points";
            pickBy("point");
        });
        tool("Point −", "Click on what is not wanted", () => {
            adding = "negative_points";
            pickBy("point");
        });
        tool("Clear", "Remove what is drawn here", () => change(() => {
            const pick = valueOf(node, "pick");
            if (pick === "box" || pick === "mixture") ["x", "y", "width", "height"].forEach(name => setWidget(node, name, 0));
            if (pick === "point" || pick === "mixture") setWidget(node, "points", "");
            setWidget(node, "negative_points", "");
        }));

        // The picture -----------------------------------------------------------------------------------------------

        /** Shows a picture; trueSize: [width, height] in pixels if the file holds a smaller copy. */
        async function use(file, trueSize) {
            const loaded = file ? await loadPicture(file) : null;
            if (file && !loaded) return;
            picture = loaded;
            size = trueSize ?? (picture ? [picture.naturalWidth, picture.naturalHeight] : [0, 0]);
            view.say(picture ? "" : HINT);
            view.resize(...size);
        }

        /** Loads the picture if the node's image comes from another file than before. */
        const look = () => {
            const source = sourceOf(node);
            const now = source ? JSON.stringify(source) : "";
            if (!source || now === key) return;
            key = now;
            found = null;
            use(source);
        };
        watched.add(look);
        const removed = node.onRemoved;
        node.onRemoved = function (...rest) {
            watched.delete(look);
            return removed?.apply(this, rest);
        };
        onExecuted(node, async output => {
            const [seen] = output.biref_seen ?? [], [cut] = output.biref_found ?? [];
            if (!seen) return;
            key = JSON.stringify(sourceOf(node) ?? seen);
            const shown = cut ? await loadPicture(cut) : null;
            await use(seen, [seen.width, seen.height]);
            found = shown;
            view.draw();
        });
        watchWidgets(node, ["pick", "x", "y", "width", "height", "points", "negative_points"], () => view.draw());
    },
});
