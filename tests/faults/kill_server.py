"""A process that has imported everything and forks for each command line, so that kills land in the work
itself.

Reads lines of JSON: {"run": [arguments of python -m birefnet], "log": FILE} answers {"pid": N}; {"wait": N}
answers {"status": CODE}, negative for a signal. {"save": FILE, "of": CHECKPOINT} runs birefnet.save over and
over; {"fetch": NAME, "to": FOLDER} fetches and loads.
"""

from __future__ import annotations

import json
import os
import sys


def prepare() -> None:
    """All that the commands import lazily, while no thread exists yet."""
    import av  # noqa: F401
    import huggingface_hub.file_download  # noqa: F401
    import kornia  # noqa: F401
    import torch

    import birefnet.__main__  # noqa: F401
    import birefnet.checkpoint.load  # noqa: F401
    import birefnet.cli.cut.work  # noqa: F401
    import birefnet.cli.models  # noqa: F401
    import birefnet.cli.video.work  # noqa: F401
    import birefnet.evaluation.report  # noqa: F401
    import birefnet.training.losses  # noqa: F401
    import birefnet.video.write  # noqa: F401

    torch.set_num_threads(1)


def run(order: dict) -> int:
    """In the child."""
    os.setsid()
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(log, stream)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    if "save" in order:
        import birefnet

        network = birefnet.load(order["of"], form="plain")
        for _ in range(order["times"]):
            birefnet.save(network, order["save"])
        return 0
    if "fetch" in order:
        import birefnet
        import weights

        birefnet.load(weights.fetch(order["fetch"], order["to"]), heads=(1, 1, 2, 2))
        return 0
    from birefnet.__main__ import main

    return main(order["run"])


def serve() -> None:
    prepare()
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        if "wait" in order:
            _, status = os.waitpid(order["wait"], 0)
            print(json.dumps({"status": os.waitstatus_to_exitcode(status)}), flush=True)
            continue
        child = os.fork()
        if not child:
            code = 70
            try:
                code = run(order)
            except SystemExit as end:
                code = end.code
            except BaseException:
                import traceback

                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code if isinstance(code, int) else 1)
        print(json.dumps({"pid": child}), flush=True)


if __name__ == "__main__":
    serve()
