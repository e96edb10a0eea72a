"""Things and people as 3-D models (Debian sweethome3d-furniture, CC BY 3.0 and CC0), rendered by VTK with
alpha."""

from __future__ import annotations

import os
import re
import tempfile
import zipfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np

from .photographs import Entry, crop_to_subject

LIBRARIES = Path("/usr/share/sweethome3d/furniture")
# Parts of buildings, markings of roads: nobody's subject.
PASSED_OVER = re.compile(
    r"door|window|plug|switch|socket|dimmer|RJ-45|antenna-whites|fleche|zebra|parking|road|place-|stop|"
    r"curtain|shutter|blind|elevator|escalator|wall|frame\d|column|pillar|-whites", re.I)
PEOPLE = re.compile(r"(fe)?male-?\d|girl|boy|mannequin", re.I)
LYING = re.compile(r"lying|boyLying|SittingGround", re.I)
VIEWS_OF_THINGS, VIEWS_OF_PEOPLE = 2, 5
RENDERED_SIDE, STORED_SIDE = 480, 320  # pixels


def render_all(seed: int) -> Iterator[Entry]:
    """(kind, name, uint8 RGBA [h,w,4]) of every model from some sides. Things are "model"; people are
    "person" and named by their framing: "full", or "half" and "head" where they are cut below."""
    with tempfile.TemporaryDirectory() as scratch:
        files = unpack(Path(scratch))
        renderer = ProcessPoolExecutor(1)
        for number, file in enumerate(files):
            count = VIEWS_OF_PEOPLE if PEOPLE.search(file.stem) else VIEWS_OF_THINGS
            try:
                yield from renderer.submit(render_views, file, (seed, number), count).result()
            except BrokenProcessPool:  # VTK crashes on a few models
                renderer = ProcessPoolExecutor(1)
        renderer.shutdown()


def render_views(file: Path, seed: tuple[int, int], count: int) -> list[Entry]:
    """Up to `count` views of one model, as `render_all` yields them."""
    rng, found = np.random.default_rng(seed), []
    for _ in range(count):
        kind, name, share = "model", file.stem, 1.0
        if PEOPLE.search(file.stem):
            kind = "person"
            name = "full" if LYING.search(file.stem) else str(rng.choice(["full", "half", "head"]))
            share = {"full": 1.0, "half": rng.uniform(0.4, 0.65), "head": rng.uniform(0.22, 0.33)}[name]
        pixels = crop_to_subject(render(file, rng, min(2.0, max(1.0, 0.7 / share))), STORED_SIDE, share)
        if pixels is not None:
            found.append((kind, name, pixels))
    return found


def unpack(folder: Path) -> list[Path]:
    """The .obj files of all libraries, unpacked below `folder`, without parts of buildings."""
    for library in sorted(LIBRARIES.glob("*.sh3f")):
        with zipfile.ZipFile(library) as archive:
            archive.extractall(folder / library.stem)
    return [file for file in sorted(folder.rglob("*.obj")) if not PASSED_OVER.search(file.stem)]


def render(file: Path, rng: np.random.Generator, zoom: float) -> np.ndarray:
    """uint8 RGBA [h,w,4] of a model under random light from somewhere in front; `zoom` > 1 renders it
    larger."""
    os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkOSOpenGLRenderWindow")
    import vtk
    from vtk.util.numpy_support import vtk_to_numpy

    vtk.vtkObject.GlobalWarningDisplayOff()
    reader = vtk.vtkOBJImporter()
    reader.SetFileName(str(file))
    materials = re.search(r"^mtllib\s+(.+?)\s*$", file.read_text(errors="replace"), re.MULTILINE)
    if materials:
        reader.SetFileNameMTL(str(file.parent / materials[1]))
    reader.SetTexturePath(str(file.parent))
    side = int(RENDERED_SIDE * zoom)
    window, scene = vtk.vtkRenderWindow(), vtk.vtkRenderer()
    window.SetOffScreenRendering(1)
    window.SetSize(side, side)
    window.SetAlphaBitPlanes(1)
    window.SetMultiSamples(0)  # what is rendered is reduced afterwards
    scene.SetBackgroundAlpha(0)
    window.AddRenderer(scene)
    reader.SetRenderWindow(window)
    reader.Update()
    for actor in scene.GetActors():
        surface = actor.GetProperty()
        surface.SetAmbient(rng.uniform(0.1, 0.3))
        surface.SetDiffuse(0.9)
        surface.SetSpecular(rng.uniform(0, 0.4))
        surface.SetOpacity(1)
    bounds = np.array(scene.ComputeVisiblePropBounds())
    low, high = bounds[::2], bounds[1::2]
    yaw, pitch = rng.normal(0, 0.6), rng.uniform(-0.05, 0.55)
    if PEOPLE.search(file.stem):
        pitch = rng.normal(0, 0.08)
    towards = np.array([np.cos(pitch) * np.sin(yaw), np.sin(pitch), np.cos(pitch) * np.cos(yaw)])
    camera = scene.GetActiveCamera()
    camera.SetViewAngle(rng.uniform(15, 35))
    distance = np.linalg.norm(high - low) / 2 / np.sin(np.deg2rad(camera.GetViewAngle() / 2))
    camera.SetFocalPoint(*(low + high) / 2)
    camera.SetPosition(*((low + high) / 2 + distance * towards))
    camera.SetViewUp(0, 1, 0)
    scene.ResetCameraClippingRange()
    scene.RemoveAllLights()
    for strength, spread in ((rng.uniform(0.5, 0.9), 1.0), (rng.uniform(0.1, 0.4), 2.0)):
        lamp = vtk.vtkLight()
        lamp.SetLightTypeToCameraLight()
        lamp.SetPosition(*(rng.normal(0, spread, 3) * (1, 0.6, 0) + (0, 0.7, 1)))
        lamp.SetIntensity(strength)
        scene.AddLight(lamp)
    window.Render()
    grab = vtk.vtkWindowToImageFilter()
    grab.SetInput(window)
    grab.SetInputBufferTypeToRGBA()
    grab.ReadFrontBufferOff()
    grab.Update()
    pixels = vtk_to_numpy(grab.GetOutput().GetPointData().GetScalars()).reshape(side, side, 4)[::-1].copy()
    window.Finalize()
    return pixels
