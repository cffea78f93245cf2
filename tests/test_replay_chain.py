from typing import Any

import pytest

from wakeline.errors import ConfigError
from wakeline.replay.chain import Chain, chain_of


def node(
    name: str, *parents: str, folder: str = "profiles/states", materialized: str = "materialized_view", **meta: bool
) -> Any:
    return {
        "name": name,
        "resource_type": "model",
        "config": {"materialized": materialized, "meta": {"wakeline": meta}},
        "original_file_path": f"models/{folder}/{name}.sql",
        "depends_on": {"nodes": [f"model.{parent}" for parent in parents]},
    }


NODES = [
    node("landing", folder="landing", materialized="incremental"),
    node("landing_message_ids", "landing", folder="landing", outlives_landing=True),
    node("sends", folder="analytics", materialized="incremental"),
    node("campaign_activity", "sends", folder="analytics"),
    node("events", "landing", folder="staging"),
    node("consent_states", "landing"),
    node("person_states", "events"),
    node("persons", "person_states", folder="profiles/merged", materialized="view"),
]
MANIFEST = {"nodes": {f"model.{one['name']}": one for one in NODES}}


def test_everything_that_inserts_into_landing_fill_is_rebuilt_but_the_memory_of_message_ids() -> None:
    assert chain_of(MANIFEST) == Chain(("consent_states", "events", "person_states"), ())


def test_what_a_model_is_made_of_is_filled_on_the_way_to_it() -> None:
    assert chain_of(MANIFEST, ["person_states"]) == Chain(("person_states",), ("events",))
    assert chain_of(MANIFEST, ["consent_states"]) == Chain(("consent_states",), ())
    assert chain_of(MANIFEST, ["person_states", "events"]).on_the_way == ()


@pytest.mark.parametrize("name", ["persons", "landing_message_ids", "landing", "campaign_activity", "nonsense"])
def test_a_name_of_another_model_or_of_none_is_refused_with_those_that_can_be_rebuilt(name: str) -> None:
    with pytest.raises(ConfigError, match=f"no model '{name}' to rebuild; known are consent_states, events, person_st"):
        chain_of(MANIFEST, ["events", name])
