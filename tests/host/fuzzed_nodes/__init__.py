"""Nodes for the tests' host only: run every node of the pack on random inputs, and report imports."""

import json
import os
import resource
import sys
import traceback
from pathlib import Path

from .case import Cases, writable

FUZZ = Path(__file__).resolve().parents[2] / "fuzz"


class FuzzNodes:
    """Runs every node on random inputs. Outputs JSON: (accepted, refused) cases by node, and the failure."""

    CATEGORY, FUNCTION, RETURN_TYPES, OUTPUT_NODE = "tests", "run", ("STRING",), True

    @classmethod
    def INPUT_TYPES(cls):
        number = ("INT", {"min": 0, "max": 10**9})
        return {"required": {"cases": number, "seed": number}}

    def run(self, cases, seed):
        import folder_paths
        import hypothesis

        sys.path.insert(0, str(FUZZ))
        try:
            from watch import Failure, Watch
        finally:
            sys.path.remove(str(FUZZ))
        base = Path(folder_paths.get_output_directory()).parent
        os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = str(base / "temp" / "hypothesis")
        fuzzed = Cases()
        fuzzed.warm()
        before = resource.getrlimit(resource.RLIMIT_AS)  # restored at the end, as the host runs other tests
        watch = Watch(*writable(base))
        counts, fault = {}, ""

        def fuzz(name):
            @hypothesis.seed(seed)
            @hypothesis.settings(
                max_examples=max(1, cases // len(fuzzed.nodes)), database=None, deadline=None,
                print_blob=False,
                suppress_health_check=list(hypothesis.HealthCheck),
                phases=[hypothesis.Phase.generate, hypothesis.Phase.shrink])
            @hypothesis.given(fuzzed.strategy(name))
            def test(values):
                (base / "temp" / "case").write_text(f"{name} {values!r}", errors="backslashreplace")
                try:
                    watch.case(lambda: fuzzed.execute(name, values), fuzzed.refusals)
                except Failure as failure:
                    raise AssertionError(str(failure)) from None

            held = watch.taken, watch.refused
            try:
                test()
            finally:
                counts[name] = watch.taken - held[0], watch.refused - held[1]

        try:
            for name in fuzzed.nodes:
                fuzz(name)
        except BaseException:
            fault = traceback.format_exc()
        finally:
            resource.setrlimit(resource.RLIMIT_AS, before)
        elsewhere = fuzzed.outside(base)
        if elsewhere:
            fault += f"\nfiles outside the output folder: {elsewhere}"
        text = json.dumps({"counts": counts, "fault": fault})
        return {"ui": {"text": (text,)}, "result": (text,)}


class ImportWatch:
    """Outputs JSON: what the pack's import started, contacted or wrote, see prestartup_script.py."""

    CATEGORY, FUNCTION, RETURN_TYPES, OUTPUT_NODE = "tests", "run", ("STRING",), True

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {}}

    def run(self):
        watch = sys.modules["import_watch"]
        text = json.dumps({"imported": watch.imported, "heard": watch.heard})
        return {"ui": {"text": (text,)}, "result": (text,)}


NODE_CLASS_MAPPINGS = {"FuzzNodes": FuzzNodes, "ImportWatch": ImportWatch}
