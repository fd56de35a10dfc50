"""The wiring: reads the folder of Knative objects whole, or says everything that is wrong."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from sensor_dispatcher.manifests import KINDS, KafkaSink, KafkaSource, PingSource

_KUSTOMIZATION = "kustomization.yaml"
"""Kustomize's own file may lie among the objects; it is none of them."""


class WiringError(ValueError):
    """The files cannot be carried out as they are; the message lists every mistake."""


@dataclass(frozen=True, slots=True)
class Wiring:
    """All objects of a folder, in the order of their files."""

    kafka_sources: tuple[KafkaSource, ...]
    ping_sources: tuple[PingSource, ...]
    kafka_sinks: tuple[KafkaSink, ...]

    @property
    def services(self) -> frozenset[str]:
        """Names of the Knative Services that events are sent to."""
        sinks = [source.spec.sink for source in self.kafka_sources]
        sinks += [source.spec.sink for source in self.ping_sources]
        return frozenset(sink.ref.name for sink in sinks)

    def kafka_sink(self, name: str) -> KafkaSink:
        """Returns the KafkaSink of that name; `read` has proven that referenced ones exist."""
        return next(sink for sink in self.kafka_sinks if sink.metadata.name == name)


def read(folder: Path) -> Wiring:
    """Reads every *.yaml file of the folder.

    Raises:
        WiringError: naming, by file and field, whatever is wrong or not supported.
    """
    files = sorted(path for path in folder.glob("*.yaml") if path.name != _KUSTOMIZATION)
    if not files:
        raise WiringError(f"wiring: no *.yaml file in {folder}")
    return parse({path.name: path.read_text(encoding="utf-8") for path in files})


def parse(documents: dict[str, str]) -> Wiring:
    """Reads objects from the texts of files, by file name.

    Raises:
        WiringError: see `read`.
    """
    mistakes: list[str] = []
    objects: dict[str, KafkaSource | PingSource | KafkaSink] = {}
    for file, text in documents.items():
        try:
            objects[file] = _object(yaml.safe_load(text))
        except ValidationError as error:
            mistakes += [f"{file}: {_describe(m)}" for m in error.errors(include_url=False)]
        except (yaml.YAMLError, ValueError) as error:
            mistakes.append(f"{file}: {error}")
    wiring = Wiring(
        tuple(o for o in objects.values() if isinstance(o, KafkaSource)),
        tuple(o for o in objects.values() if isinstance(o, PingSource)),
        tuple(o for o in objects.values() if isinstance(o, KafkaSink)),
    )
    mistakes += _across(objects, complete=len(objects) == len(documents))
    if mistakes:
        raise WiringError("wiring:\n" + "\n".join(f"  {line}" for line in mistakes))
    return wiring


def _object(document: Any) -> KafkaSource | PingSource | KafkaSink:
    if not isinstance(document, dict):
        raise ValueError("must hold one object")  # noqa: TRY004  (a mistake among others)
    kind = KINDS.get(str(document.get("kind")))
    if kind is None:
        raise ValueError(f"kind: {document.get('kind')!r} is not supported; {', '.join(KINDS)} are")
    return kind.model_validate(document)


def _across(
    objects: dict[str, KafkaSource | PingSource | KafkaSink], *, complete: bool
) -> list[str]:
    """Mistakes between objects; dangling references only when no file was unreadable."""
    mistakes = []
    names = Counter((o.kind, o.metadata.name) for o in objects.values())
    sinks = {o.metadata.name for o in objects.values() if isinstance(o, KafkaSink)}
    readers: Counter[tuple[str, str]] = Counter()
    for file, thing in objects.items():
        if names[thing.kind, thing.metadata.name] > 1:
            mistakes.append(f"{file}: metadata.name: more than one {thing.kind} has this name")
        if not isinstance(thing, KafkaSource):
            continue
        dead_letters = thing.spec.delivery.dead_letter_sink.ref.name
        if complete and dead_letters not in sinks:
            mistakes.append(
                f"{file}: spec.delivery.deadLetterSink.ref.name: no KafkaSink {dead_letters!r} here"
            )
        for topic in set(thing.spec.topics):
            readers[thing.spec.consumer_group, topic] += 1
            if readers[thing.spec.consumer_group, topic] > 1:
                mistakes.append(
                    f"{file}: spec.consumerGroup: another source shares the group "
                    f"{thing.spec.consumer_group!r} on topic {topic!r}; each would get a part"
                )
    return mistakes


def _describe(mistake: Any) -> str:
    where = ".".join(str(part) for part in mistake["loc"])
    match mistake["type"]:
        case "extra_forbidden":
            return f"{where}: not supported by the dispatcher"
        case "missing":
            return f"{where}: must be written"
        case "literal_error":
            wanted = mistake["ctx"]["expected"]
            return f"{where}: {mistake['input']!r} is not supported, only {wanted}"
        case _:
            message = str(mistake["msg"]).removeprefix("Value error, ")
            return f"{where}: {message}" if where else message
