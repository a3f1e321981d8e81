"""YAML as people write settings: read strictly, and written so that it reads back as it was."""

import re
from typing import Any

import yaml

from utils.errors import UserError


def parse_yaml(text: str) -> Any:
    """The value of a YAML text without anchors, aliases and tags; a UserError says where it is not valid."""
    try:
        return yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        reason = ", ".join(part for part in (error.context, error.problem) if part)
        problem = f"line {mark.line + 1}, column {mark.column + 1}: {reason}" if mark else reason
    except RecursionError:
        problem = "nested too deeply"
    except (yaml.YAMLError, ValueError) as error:  # a ValueError for a date that is none, say
        problem = " ".join(str(error).split())
    raise UserError(f"not valid YAML: {problem}")


def to_yaml(value: Any) -> str:
    """A value as YAML text, which `parse_yaml` reads back as it was."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False)


class _Loader(yaml.SafeLoader):
    """A repeated key is an error, and so are aliases: a few lines of those stand for more than the memory."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()
        if event.anchor or getattr(event, "tag", None):
            problem = "anchors (&), aliases (*) and tags (!) are not supported"
            raise yaml.composer.ComposerError(None, None, problem, event.start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                problem = f"the key {key.value} stands here a second time"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """Puts quotes around text that _Loader would take for a number."""


# YAML 1.1 wants a dot and a signed exponent in a float; people, and YAML 1.2, write 1e-3.
for _class in (_Loader, _Dumper):
    _class.add_implicit_resolver(
        "tag:yaml.org,2002:float",
        re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+$"),
        list("-+.0123456789"),
    )
