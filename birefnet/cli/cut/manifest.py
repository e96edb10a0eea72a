"""The plan of a results folder, recorded before the work starts, so that a later run can continue it.

In OUT/.cut, `state.json` holds the settings, and each plan file has one line per picture: its source, the
name of its result, the stamp of the older file that the result replaces (if any), and when the source was
last changed. Results are written atomically, so a planned result that exists and is not the older file is
done. A later run reports how many sources have changed since. Nothing is recorded during the work, so if a
process or machine is killed, only the pictures that it was working on are repeated.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from dataclasses import dataclass

from ..options import CommandError
from . import places

FOLDER = ".cut"


@dataclass(frozen=True, slots=True)
class Job:
    """One picture: source and result.

    Args:
        source, target: places.
        replaces: stamp of the older file that the result replaces, "" for none.
        changed: when the source was last changed, see `places.changed`.
    """

    source: str
    target: str
    replaces: str = ""
    changed: int = 0


class Manifest:
    """The record of the runs into a results folder.

    Args:
        out: the folder's place.
        settings: that a result depends on, beside its source.
        force: start over if the folder was started with other settings, or if its last run is finished.

    Raises:
        CommandError: the folder was started with other settings, and `force` is not set.

    Attributes:
        planned: jobs of earlier runs with the same settings, by the result's name below `out`, with "/"
            between folders.
    """

    def __init__(self, out: str, settings: dict[str, object], force: bool) -> None:
        self.out, self.folder = out, places.join(out, FOLDER)
        self.settings = json.loads(json.dumps(settings))
        state = self._read_state()
        if state is not None and state["settings"] != self.settings and not force:
            changes = _difference(state["settings"], self.settings)
            raise CommandError(f"{out}: was started with other settings ({changes}); take another OUT, or "
                               "--force to start over")
        same = state is not None and state["settings"] == self.settings
        self.resumes = same and not (force and state["finished"])
        self.run = state["run"] if self.resumes else secrets.token_hex(4)
        self.planned: dict[str, Job] = {}
        if self.resumes:
            for name in self._plans():
                for line in places.read(places.join(self.folder, name)).splitlines():
                    source, result, *more = json.loads(line)  # plans of older versions have no time of change
                    self.planned[result] = Job(source, places.join(out, result), *more)

    def add(self, jobs: list[Job]) -> None:
        """Record jobs that are about to be done, atomically."""
        if not jobs:
            return
        self._write_state(finished=False)
        lines = (json.dumps([places.absolute(job.source), places.below(job.target, self.out), job.replaces,
                             job.changed]) for job in jobs)
        content = "".join(f"{line}\n" for line in lines).encode()
        # Named by its content: what a killed process left of it, the next one finds under the same name.
        token = hashlib.sha256(content).hexdigest()[:8]
        plan = places.join(self.folder, f"{self.run}-{len(self._plans()):06d}-{token}.jsonl")
        places.write(plan, content, force=True)
        for name in places.listing(self.folder):
            if name.endswith(".jsonl") and not name.startswith(f"{self.run}-"):
                places.remove(places.join(self.folder, name))  # of a run that this one replaces

    def finish(self) -> None:
        """Record that all jobs were tried: a later run with --force then starts over instead of resuming."""
        if self._read_state() is not None:
            self._write_state(finished=True)

    def _plans(self) -> list[str]:
        """Names of this run's plan files, in order; later entries replace earlier ones. Older versions used
        shorter names, which come first."""
        names = [name for name in places.listing(self.folder) if name.startswith(f"{self.run}-")]
        return sorted(names, key=lambda name: (len(name), name))

    def _read_state(self) -> dict | None:
        """The content of `state.json`, None if there is none. Raises CommandError if it is damaged."""
        try:
            return json.loads(places.read(places.join(self.folder, "state.json")))
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise CommandError(f"{self.folder}/state.json cannot be read ({error}); remove the folder to "
                               "start over, with --force for results that exist") from None

    def _write_state(self, finished: bool) -> None:
        state = {"settings": self.settings, "run": self.run, "finished": finished}
        places.write(places.join(self.folder, "state.json"), json.dumps(state, indent=1).encode(), force=True)


def _difference(old: dict[str, object], new: dict[str, object]) -> str:
    """Describe the settings that differ."""
    return ", ".join(f"{key} {old.get(key)}, now {new.get(key)}" for key in {**old, **new}
                     if old.get(key) != new.get(key))
