"""Blender as a camera (pip: bpy, whose Cycles renders): surfaces, strands, stuffs, the light of a place, a picture.

One scene at a time: `clear`, build, then `cut_out` or `photograph`. Lengths: metres; z: up; colours: sRGB in 0..255.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import bpy
import numpy as np
from mathutils import Vector
from PIL import Image, ImageDraw

from . import shapes

Rng = np.random.Generator
Pattern = Callable[[Rng], np.ndarray]  # rng -> uint8 [h,w,3], what a stuff may look like
BUNDLED = Path(bpy.utils.resource_path("LOCAL")) / "datafiles/studiolights/world"  # Blender's eight, CC0


# --- things in the scene ---------------------------------------------------------------------------------------------

def clear() -> None:
    bpy.ops.wm.read_factory_settings(use_empty=True)


def surface(points: np.ndarray, faces: np.ndarray, stuff, colours: np.ndarray | None = None, uv: np.ndarray | None = None,
            rounder: bool = False, thick: float = 0.0) -> bpy.types.Object:
    """Points [V, 3] joined by faces [F, 3 or 4]; colours [V, 3] for `skin`, uv [V, 2] for `cloth`; `rounder` subdivides."""
    mesh = bpy.data.meshes.new("surface")
    mesh.from_pydata(points.tolist(), [], faces.tolist())
    mesh.polygons.foreach_set("use_smooth", np.ones(len(faces), bool))
    if colours is not None:
        tint = mesh.color_attributes.new("tint", "FLOAT_COLOR", "POINT")
        tint.data.foreach_set("color", np.array([rgba(colour) for colour in colours], np.float32).ravel())
    if uv is not None:
        mesh.uv_layers.new(name="uv").data.foreach_set("uv", uv[faces.ravel()].astype(np.float32).ravel())
    mesh.materials.append(stuff)
    thing = bpy.data.objects.new("surface", mesh)
    bpy.context.scene.collection.objects.link(thing)
    if rounder:
        thing.modifiers.new("rounder", "SUBSURF").render_levels = 1
    if thick:
        shell = thing.modifiers.new("thick", "SOLIDIFY")
        shell.thickness, shell.offset = thick, -1
    return thing


def strands(paths: np.ndarray, radius: float, stuff) -> None:
    """Hair along paths [S, P, 3], thinner towards the tip."""
    count, steps = paths.shape[:2]
    curves = bpy.data.hair_curves.new("strands")
    curves.add_curves([steps] * count)
    curves.position_data.foreach_set("vector", paths.astype(np.float32).ravel())
    thin = np.tile(radius * np.linspace(1, 0.3, steps), count).astype(np.float32)
    curves.attributes.new("radius", "FLOAT", "POINT").data.foreach_set("value", thin)
    curves.materials.append(stuff)
    bpy.context.scene.collection.objects.link(bpy.data.objects.new("strands", curves))


def backdrop(rng: Rng, pattern: Pattern, direction: Vector, far: float, high: float, rough: float, ground: float) -> None:
    """A wall or slope, `high` metres from the ground up, `far` behind the middle as seen from a direction."""
    behind = -np.array(direction)[:2] / np.hypot(direction.x, direction.y)
    u, v = (grid.ravel() for grid in np.meshgrid(np.linspace(-20, 20, 240), np.linspace(0, 1, 24), indexing="ij"))
    uneven = rough * shapes.waves(rng, np.stack([u, 0 * u, v * high], 1), rng.uniform(1, 5))
    skyline = 1 + min(0.4, rough) * shapes.waves(rng, np.stack([u, 0 * u, 0 * u], 1), 0.6, 2)
    slant = rng.normal(0, 0.3)
    across = np.array([-behind[1], behind[0]]) * np.cos(slant) + behind * np.sin(slant)
    plan = np.outer(u, across) + np.outer(far + uneven + v * rng.uniform(0, 2) * rough, behind)
    z = v * high * skyline + ground
    surface(np.column_stack([plan, z]), shapes.quads(240, 24), masonry_or_hedge(rng, pattern),
            uv=np.stack([u / rng.uniform(2, 8), z / rng.uniform(2, 8)], 1))


# --- stuffs ----------------------------------------------------------------------------------------------------------

class Stuff:
    """A material that is being put together: Blender's principled surface and the nodes before it."""

    def __init__(self, colour: np.ndarray, roughness: float) -> None:
        self.material = bpy.data.materials.new("stuff")
        self.material.use_nodes = True
        self.surface = self.material.node_tree.nodes["Principled BSDF"]
        self.set(self.surface, {"Base Color": rgba(colour), "Roughness": roughness})

    def node(self, kind: str, **inputs):
        """A new node; an input's value is a number, a colour, or the output of another node."""
        node = self.material.node_tree.nodes.new(f"ShaderNode{kind}")
        self.set(node, {name.replace("_", " "): value for name, value in inputs.items()})
        return node

    def set(self, node, inputs: dict) -> None:
        for name, value in inputs.items():
            if isinstance(value, bpy.types.NodeSocket):
                self.material.node_tree.links.new(value, node.inputs[name])
            else:
                node.inputs[name].default_value = value

    def bump(self, height, metres: float, normal=None):
        """The normal of a surface that a height in 0..1 raises by so many metres."""
        below = {} if normal is None else {"Normal": normal}
        node = self.node("Bump", Height=height, Distance=metres)
        self.set(node, below)
        return node.outputs["Normal"]

    def between(self, share, one, other):
        """The colour that lies between two, by a share in 0..1."""
        node = self.node("Mix")
        node.data_type = "RGBA"
        self.set(node, {"Factor": share, "A": rgba(one), "B": rgba(other)})
        return node.outputs["Result"]

    def place(self):
        return self.node("TexCoord").outputs["Object"]


def plain(colour, roughness: float = 0.35):
    return Stuff(colour, roughness).material


def skin(rng: Rng):
    stuff = Stuff((0, 0, 0), rng.uniform(0.35, 0.6))
    tint = stuff.node("Attribute")
    tint.attribute_name = "tint"
    pores = stuff.node("TexNoise", Scale=400.0).outputs[0]
    stuff.set(stuff.surface, {
        "Base Color": tint.outputs["Color"], "Normal": stuff.bump(pores, 0.0003),
        "Subsurface Weight": rng.uniform(0, 0.3), "Subsurface Radius": (0.012, 0.006, 0.004), "Subsurface Scale": 1.0})
    return stuff.material


def cloth(rng: Rng, pattern: Pattern):
    """Plain, woven, printed, striped or checked, with folds and a weave."""
    colour = rng.uniform(0, 255, 3) * rng.choice([1, 0.5], p=[0.6, 0.4])
    if rng.random() < 0.4:
        colour = np.full(3, rng.uniform(5, 250))
    stuff = Stuff(colour, rng.choice([rng.uniform(0.6, 1), rng.uniform(0.25, 0.5)], p=[0.85, 0.15]))
    kind = rng.choice(["plain", "woven", "printed", "striped", "checked"], p=[0.45, 0.2, 0.15, 0.12, 0.08])
    if kind != "plain":
        pixels = stripes(rng, colour, kind) if kind in ("striped", "checked") else pattern(rng).astype(float)
        if kind == "woven":
            pixels = np.clip(colour * (0.4 + 0.6 * pixels.mean(2, keepdims=True) / max(pixels.mean(), 1)), 0, 255)
        spread = stuff.node("Mapping", Vector=stuff.node("UVMap").outputs[0], Scale=(rng.uniform(0.8, 4),) * 3,
                            Rotation=(0, 0, rng.normal(0, 0.3)))
        picture = stuff.node("TexImage", Vector=spread.outputs[0])
        picture.image = image(pixels)
        stuff.set(stuff.surface, {"Base Color": picture.outputs["Color"]})
    place = stuff.place()
    folds = stuff.node("TexNoise", Vector=place, Scale=rng.uniform(4, 14), Distortion=rng.uniform(0, 2), Detail=3.0)
    weave = stuff.node(rng.choice(["TexWave", "TexNoise"]), Vector=place, Scale=rng.uniform(40, 200),
                       Distortion=rng.uniform(0, 4))
    folded = stuff.bump(folds.outputs[0], rng.uniform(0.01, 0.05))
    stuff.set(stuff.surface, {"Sheen Weight": rng.choice([0, rng.uniform(0, 0.6)]),
                              "Normal": stuff.bump(weave.outputs[0], rng.uniform(0.0005, 0.004), folded)})
    return stuff.material


def masonry_or_hedge(rng: Rng, pattern: Pattern):
    """What is behind: half of the time something natural, in natural colours."""
    kind = rng.random()
    if kind < 0.5:
        return cloth(rng, pattern)
    return leaves(rng) if kind < 0.8 else stone(rng)


def stone(rng: Rng):
    """Concrete, earth or rock: uneven in height and in tone, with darker places."""
    stuff = Stuff((0, 0, 0), rng.uniform(0.6, 1))
    base = rng.uniform(40, 220) * np.array([1, 0.95, 0.86]) ** rng.uniform(-0.5, 2)
    coarse = stuff.node("TexNoise", Vector=stuff.place(), Scale=rng.uniform(0.5, 4), Detail=8.0, Roughness=0.65).outputs[0]
    tones = stuff.between(coarse, base * rng.uniform(0.3, 0.9), base * rng.uniform(1, 1.4))
    stuff.set(stuff.surface, {"Base Color": tones, "Normal": stuff.bump(coarse, rng.uniform(0.01, 0.3))})
    return stuff.material


def leaves(rng: Rng):
    """Foliage: some hundred leaves over darkness, lighter where they lie above others, some of them yellow."""
    canvas = Image.new("RGB", (256, 256), tuple(rng.integers(2, 40, 3)))
    pen, count = ImageDraw.Draw(canvas), int(np.exp(rng.uniform(4.5, 6.5)))
    green = np.array([95, 125, 45]) * rng.uniform(0.5, 1.4, 3)
    for place in range(count):
        long, turn = 256 / count**0.5 * rng.uniform(0.5, 1.5), rng.uniform(0, 2 * np.pi)
        t = np.linspace(0, 2 * np.pi, 13)
        outline = np.stack([np.cos(t), np.sin(t) * rng.uniform(0.35, 0.8)]) * long
        spun = shapes.rotation(np.array([0, 0, turn]))[:2, :2] @ outline + rng.uniform(0, 256, (2, 1))
        colour = green * rng.uniform(0.5, 1.1) * (0.4 + 0.9 * place / count) + rng.normal(0, 8, 3)
        if rng.random() < 0.05:
            colour = colour + [90, 70, 0]
        pen.polygon([tuple(corner) for corner in spun.T], fill=tuple(int(c) for c in colour.clip(0, 255)))
    stuff = Stuff((0, 0, 0), rng.uniform(0.4, 0.9))
    picture = stuff.node("TexImage", Vector=stuff.node("UVMap").outputs[0])
    picture.image = image(np.asarray(canvas))
    stuff.set(stuff.surface, {"Base Color": picture.outputs["Color"],
                              "Normal": stuff.bump(picture.outputs["Color"], rng.uniform(0.02, 0.2))})
    return stuff.material


def stripes(rng: Rng, colour: np.ndarray, kind: str) -> np.ndarray:
    """[256, 256, 3], striped along one side or checked, in 0..255."""
    other = rng.uniform(0, 255, 3) if rng.random() < 0.6 else np.full(3, rng.choice([20, 230]))
    y, x = np.mgrid[0:1:256j, 0:1:256j]
    count = rng.integers(4, 16)
    share = ((y if rng.random() < 0.7 else x) * count % 1 < rng.uniform(0.2, 0.6)).astype(float)
    if kind == "checked":
        share = (share + (x * count % 1 < 0.4)) / 2
    return colour + (other - colour) * share[..., None]


def hair(rng: Rng, colour):
    stuff = Stuff(colour, 0.5)
    strand = stuff.node("BsdfHairPrincipled", Roughness=rng.uniform(0.2, 0.5))
    strand.parametrization = "COLOR"
    strand.inputs["Color"].default_value = rgba(colour)
    stuff.set(stuff.material.node_tree.nodes["Material Output"], {"Surface": strand.outputs[0]})
    return stuff.material


def feathers(rng: Rng, colour):
    """Rows of scales, sometimes of two tones."""
    stuff = Stuff(colour, rng.uniform(0.45, 0.9))
    scaled = stuff.node("Mapping", Vector=stuff.place(),
                        Scale=(rng.uniform(2, 6), rng.uniform(10, 25), rng.uniform(10, 25)))
    cells = stuff.node("TexVoronoi", Vector=scaled.outputs[0], Scale=rng.uniform(1, 3)).outputs["Distance"]
    stuff.set(stuff.surface, {"Sheen Weight": rng.uniform(0, 0.5),
                              "Normal": stuff.bump(cells, rng.uniform(0.01, 0.04))})
    if rng.random() < 0.6:
        other = np.asarray(colour) * rng.uniform(0.65, 1.4) + rng.normal(0, 12, 3)
        stuff.set(stuff.surface, {"Base Color": stuff.between(cells, colour, other)})
    return stuff.material


def water(rng: Rng):
    """Dark or light, with small waves upon large ones."""
    stuff = Stuff(np.array([38, 46, 38]) * rng.uniform(0.5, 1.9) * rng.uniform(0.7, 1.25, 3), rng.uniform(0.02, 0.15))
    place = stuff.place()
    large = stuff.node("TexNoise", Vector=place, Scale=rng.uniform(0.5, 2.5), Detail=4.0).outputs[0]
    small = stuff.node("TexNoise", Vector=place, Scale=rng.uniform(3, 10)).outputs[0]
    height = rng.choice([rng.uniform(0.02, 0.1), rng.uniform(0.1, 0.4)])
    stuff.set(stuff.surface, {"IOR": 1.33, "Specular IOR Level": rng.uniform(0.5, 1), "Normal": stuff.bump(
        small, height * rng.uniform(0.1, 0.5), stuff.bump(large, height))})
    return stuff.material


def image(pixels: np.ndarray) -> bpy.types.Image:
    """An image of pixels [h,w,3] in 0..255."""
    height, width = pixels.shape[:2]
    made = bpy.data.images.new("pixels", width, height)
    made.colorspace_settings.name = "Non-Color"
    opaque = np.concatenate([linear(pixels), np.ones((height, width, 1))], 2)
    made.pixels.foreach_set(opaque[::-1].astype(np.float32).ravel())  # Blender begins at the bottom
    return made


def linear(colour) -> np.ndarray:
    """sRGB in 0..255 to light in 0..1, by the usual power of 2.2."""
    return (np.asarray(colour, float).clip(0, 255) / 255) ** 2.2


def rgba(colour) -> tuple[float, ...]:
    return (*linear(colour), 1.0)


# --- light and camera ------------------------------------------------------------------------------------------------

def panoramas(folder: Path) -> list[Path]:
    """The panoramas of a folder, and Blender's own."""
    return sorted(folder.glob("*.exr")) + sorted(BUNDLED.glob("*.exr"))


def light(rng: Rng, panorama: Path, lamp: str, towards: Vector) -> None:
    """What is around, turned somehow and about as bright as any; in half of the scenes a lamp too, "AREA" or "SUN"."""
    world = bpy.context.scene.world = bpy.data.worlds.new("world")
    world.use_nodes = True
    nodes, links = world.node_tree.nodes, world.node_tree.links
    around, turned = nodes.new("ShaderNodeTexEnvironment"), nodes.new("ShaderNodeMapping")
    around.image = bpy.data.images.load(str(panorama))
    turned.inputs["Rotation"].default_value = (0, 0, rng.uniform(0, 2 * np.pi))
    links.new(nodes.new("ShaderNodeTexCoord").outputs["Generated"], turned.inputs[0])
    links.new(turned.outputs[0], around.inputs[0])
    links.new(around.outputs[0], nodes["Background"].inputs["Color"])
    pixels = np.empty(len(around.image.pixels), np.float32)
    around.image.pixels.foreach_get(pixels)
    mean = pixels.reshape(-1, 4)[:, :3].clip(0, 20).mean()  # the sun itself would outweigh everything
    nodes["Background"].inputs["Strength"].default_value = rng.uniform(0.2, 0.6) / max(mean, 1e-3)
    if rng.random() < 0.5:
        return
    data = bpy.data.lights.new("lamp", lamp)
    data.energy = rng.uniform(5, 60) if lamp == "AREA" else rng.uniform(0.5, 4)
    if lamp == "AREA":
        data.size = rng.uniform(0.2, 1.5)
    thing = bpy.data.objects.new("lamp", data)
    bpy.context.scene.collection.objects.link(thing)
    angle, height = rng.uniform(-np.pi, np.pi), rng.uniform(0, 1.5)
    look(thing, towards, Vector((np.sin(angle), -np.cos(angle), height)), 2)


def camera(rng: Rng, towards: Vector, direction: Vector, span: float, lens: float, blur: bool) -> None:
    """A camera that sees `span` metres from top to bottom of what lies at `towards`; `direction` leads from there to it;
    `lens` as the focal length on a 36 mm high film; `blur`: what is nearer or farther is out of focus."""
    data = bpy.data.cameras.new("camera")
    data.lens, data.sensor_height, data.sensor_fit = lens, 36, "VERTICAL"
    thing = bpy.context.scene.camera = bpy.data.objects.new("camera", data)
    bpy.context.scene.collection.objects.link(thing)
    look(thing, towards, direction, span * lens / 36)
    if blur:
        data.dof.use_dof = True
        data.dof.focus_distance = span * lens / 36
        data.dof.aperture_fstop = rng.choice([0.5, 2, 4, 8])


def look(thing: bpy.types.Object, towards: Vector, direction: Vector, distance: float) -> None:
    """Puts a camera or lamp at a distance in a direction from a point, turned to it."""
    direction = direction.normalized()
    thing.location = towards + direction * distance
    thing.rotation_euler = (-direction).to_track_quat("-Z", "Y").to_euler()


def develop(rng: Rng, height: int, width: int) -> None:
    """How the picture will be taken: size, exposure, film; on one processor core."""
    scene = bpy.context.scene
    scene.render.engine = "CYCLES"
    scene.render.resolution_y, scene.render.resolution_x = height, width
    scene.render.threads_mode, scene.render.threads = "FIXED", 1
    scene.render.image_settings.color_mode = "RGBA"
    scene.view_settings.view_transform = str(rng.choice(["Standard", "AgX", "Filmic"]))
    scene.view_settings.exposure = rng.normal(0.2, 0.5)
    cycles = scene.cycles
    cycles.samples, cycles.max_bounces, cycles.use_adaptive_sampling = 8, 3, False
    cycles.denoiser, cycles.denoising_prefilter, cycles.denoising_quality = "OPENIMAGEDENOISE", "NONE", "FAST"
    scene.cycles_curves.shape = "RIBBONS"


def cut_out(file: Path) -> np.ndarray:
    """The scene without what is around, uint8 RGBA [h,w,4]; the picture goes through `file`."""
    bpy.context.scene.render.film_transparent = True
    return _render(file)


def photograph(file: Path, subject: list[bpy.types.Object]) -> np.ndarray:
    """The whole scene and how much of each pixel the subject is, uint8 RGBA [h,w,4]; the picture goes through `file`."""
    scene = bpy.context.scene
    whole = _render(file)
    for thing in scene.collection.objects:
        thing.is_holdout = thing not in subject
    scene.render.film_transparent = True
    scene.cycles.use_denoising, scene.cycles.max_bounces = False, 0
    return np.dstack([whole[..., :3], _render(file)[..., 3]])


def _render(file: Path) -> np.ndarray:
    bpy.context.scene.render.filepath = str(file)
    bpy.ops.render.render(write_still=True)
    with Image.open(file) as picture:
        return np.asarray(picture.convert("RGBA"))
