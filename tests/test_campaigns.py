from collections import Counter
from pathlib import Path
from random import Random

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from wakeline.activation.campaigns import Campaign, Holdout, QuietHours, Utm, load_campaigns
from wakeline.errors import ConfigError

SHIPPED = Path(__file__).parent.parent / "campaigns"
MARKETING = "description: A reminder\nowner: crm@example.com\ntrigger: category_dwell\nclass: marketing\n"
TRANSACTIONAL = MARKETING.replace("class: marketing", "class: transactional")


def write_campaign(folder: Path, name: str, definition: str = MARKETING, subject: str = "Hello\n") -> Path:
    home = folder / name
    home.mkdir(parents=True)
    (home / "campaign.yml").write_text(definition, encoding="utf-8")
    (home / "email.mjml.liquid").write_text("<mjml></mjml>", encoding="utf-8")
    (home / "subject.liquid").write_text(subject, encoding="utf-8")
    return home


def problem(folder: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load_campaigns(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_shipped_campaigns_load() -> None:
    campaigns = load_campaigns(SHIPPED)
    assert sorted(campaigns) == ["abandoned_cart", "category_dwell", "confirm_opt_in", "order_confirmation"]
    assert all(campaign.preview and campaign.trigger == name for name, campaign in campaigns.items())
    assert "footer" in campaigns["category_dwell"].partials


def test_the_preview_of_a_shipped_campaign_says_what_its_trigger_can_say() -> None:
    for campaign in load_campaigns(SHIPPED).values():
        declared = SHIPPED.parent / "dbt_project" / "models" / "triggers" / f"{campaign.trigger}.yml"
        [model] = yaml.safe_load(declared.read_text(encoding="utf-8"))["models"]
        assert campaign.preview.keys() <= {column["name"] for column in model["columns"]}, campaign.name


def test_marketing_needs_the_marketing_consent_unless_it_names_another(tmp_path: Path) -> None:
    write_campaign(tmp_path, "plain")
    write_campaign(tmp_path, "newsletter", MARKETING + "purpose: newsletter\n")
    write_campaign(tmp_path, "receipt", TRANSACTIONAL)
    purposes = {name: campaign.purpose for name, campaign in load_campaigns(tmp_path).items()}
    assert purposes == {"newsletter": "newsletter", "plain": "marketing", "receipt": None}


def test_marketing_cannot_do_without_a_purpose(tmp_path: Path) -> None:
    write_campaign(tmp_path, "sly", MARKETING + "purpose:\n")
    assert "line 5: key 'purpose' is wrong" in problem(tmp_path)


def test_a_frequency_cap_is_read_with_its_unit(tmp_path: Path) -> None:
    write_campaign(tmp_path, "capped", MARKETING + "frequency_cap: {sends: 2, hours: 0.5}\n")
    cap = load_campaigns(tmp_path)["capped"].frequency_cap
    assert cap is not None
    assert (cap.sends, cap.hours) == (2, 0.5)


def test_links_say_where_they_come_from_unless_the_campaign_says_otherwise(tmp_path: Path) -> None:
    write_campaign(tmp_path, "plain")
    write_campaign(tmp_path, "named", MARKETING + "utm: {source: shop, campaign: autumn}\n")
    write_campaign(tmp_path, "silent", MARKETING + "utm: false\n")
    utm = {name: campaign.utm for name, campaign in load_campaigns(tmp_path).items()}
    assert utm == {"plain": Utm(), "named": Utm(source="shop", campaign="autumn"), "silent": None}
    assert (Utm().source, Utm().medium, Utm().campaign) == ("wakeline", "email", None)


@pytest.mark.parametrize(
    ("definition", "expected"),
    [
        (MARKETING + "utm:\n", "line 5: key 'utm' is wrong: write false to turn it off"),
        (MARKETING + "utm: true\n", "line 5: key 'utm' is wrong"),
        (MARKETING + "utm:\n  medium: ''\n", "line 6: key 'utm.medium' is wrong"),
        (MARKETING + "utm: {sauce: x}\n", "line 5: 'utm.sauce' is not a key of a campaign"),
        (MARKETING + "colour: red\n", "line 5: 'colour' is not a key of a campaign"),
        (MARKETING + "frequency_cap:\n  sends: often\n  hours: 1\n", "line 6: key 'frequency_cap.sends' is wrong"),
        (MARKETING + "frequency_cap: {sends: 1, hours: .inf}\n", "line 5: key 'frequency_cap.hours' is wrong"),
        (MARKETING.replace("class: marketing", "class: spam"), "line 4: key 'class' is wrong"),
        (MARKETING.replace("trigger: category_dwell\n", ""), "key 'trigger' is missing"),
        (MARKETING + "owner: someone@example.com\n", "line 5: key 'owner' is written twice"),
        (MARKETING + "name: other\n", "'name' is not a key of a campaign"),
        (MARKETING + "preview: [\n", "campaign.yml line"),
        (MARKETING + "preview: !!python/object:os.system {}\n", "line 5: could not determine a constructor"),
        (MARKETING + "quiet_hours:\n", "line 5: key 'quiet_hours' is wrong: write false for no quiet hours"),
        (MARKETING + "quiet_hours: true\n", "line 5: key 'quiet_hours' is wrong"),
        (MARKETING + "quiet_hours:\n  from: '9'\n  to: '10:00'\n", "line 6: key 'quiet_hours.from' is wrong: write a"),
        (MARKETING + "quiet_hours:\n  from: '9:00'\n  to: 24:00\n", "line 7: key 'quiet_hours.to' is wrong: write a"),
        (MARKETING + "quiet_hours: {from: 9:60, to: 8:00}\n", "line 5: key 'quiet_hours.from' is wrong: write a time"),
        (MARKETING + "quiet_hours: {from: 900, to: 8:00}\n", "line 5: key 'quiet_hours.from' is wrong: write a time"),
        (MARKETING + "quiet_hours: {from: 8:00, to: 08:00}\n", "'from' and 'to' are the same time; write false"),
        (MARKETING + "quiet_hours: {from: 8:00}\n", "line 5: key 'quiet_hours.to' is missing"),
        (MARKETING + "quiet_hours: {from: 8:00, to: 9:00, day: sunday}\n", "'quiet_hours.day' is not a key"),
        (MARKETING + "holdout: {percent: 100}\n", "line 5: key 'holdout.percent' is wrong"),
        (MARKETING + "holdout: {percent: 0}\n", "line 5: key 'holdout.percent' is wrong"),
        (MARKETING + "holdout:\n  percent: 5\n  salt: ''\n", "line 7: key 'holdout.salt' is wrong"),
        (MARKETING + "holdout: {salt: autumn}\n", "line 5: key 'holdout.percent' is missing"),
        (MARKETING + "priority: 1.5\n", "line 5: key 'priority' is wrong"),
        (MARKETING + "priority: true\n", "line 5: key 'priority' is wrong"),
        (MARKETING + "wait_minutes: -1\n", "line 5: key 'wait_minutes' is wrong"),
        (MARKETING + "wait_minutes: .inf\n", "line 5: key 'wait_minutes' is wrong"),
        (MARKETING + "expires_after_hours: 0\n", "line 5: key 'expires_after_hours' is wrong"),
        (MARKETING + "variants: {short: 0, long: 1}\n", "line 5: key 'variants.short' is wrong"),
        (MARKETING + "variants:\n  long: 1\n  Short: 1\n", "line 7: key 'variants.Short' is wrong"),
        (MARKETING + "variants: [short, long]\n", "line 5: key 'variants' is wrong"),
        (MARKETING + "variants: {short: 1}\n", "variant 'short' has no file of its own; write subject.short.liquid or"),
        (TRANSACTIONAL + "holdout: {percent: 10}\n", "line 5: key 'holdout' is wrong: transactional mail goes to"),
        (TRANSACTIONAL + "priority: 1\n", "line 5: key 'priority' is wrong: transactional mail goes to everybody"),
        (TRANSACTIONAL + "wait_minutes: 0\n", "line 5: key 'wait_minutes' is wrong: transactional mail goes to"),
        ("- a list\n", "must hold keys"),
        ("", "key 'description' is missing"),
    ],
)
def test_a_wrong_definition_is_one_sentence_with_file_line_and_key(
    tmp_path: Path, definition: str, expected: str
) -> None:
    write_campaign(tmp_path, "wrong", definition)
    message = problem(tmp_path)
    assert expected in message
    assert str(tmp_path / "wrong" / "campaign.yml") in message


@pytest.mark.parametrize(
    "hours", ['{from: "21:00", to: "08:00"}', "{from: 21:00, to: 08:00}", "{from: 21:00, to: 8:00}"]
)
def test_quiet_hours_are_minutes_of_the_day_with_or_without_quotes(tmp_path: Path, hours: str) -> None:
    write_campaign(tmp_path, "calm", f"{MARKETING}quiet_hours: {hours}\n")
    quiet_hours = load_campaigns(tmp_path)["calm"].quiet_hours
    assert isinstance(quiet_hours, QuietHours)
    assert (quiet_hours.start_minute, quiet_hours.end_minute) == (21 * 60, 8 * 60)


def test_no_quiet_hours_are_told_from_those_of_the_deployment(tmp_path: Path) -> None:
    write_campaign(tmp_path, "plain")
    write_campaign(tmp_path, "none", TRANSACTIONAL + "quiet_hours: false\n")
    write_campaign(tmp_path, "own", TRANSACTIONAL + "quiet_hours: {from: '0:00', to: '5:30'}\n")
    found = {name: campaign.quiet_hours for name, campaign in load_campaigns(tmp_path).items()}
    assert found == {
        "plain": None,
        "none": False,
        "own": QuietHours.model_validate({"from": "0:00", "to": "05:30"}),
    }


def test_the_other_rules_of_a_send_are_read_with_their_units(tmp_path: Path) -> None:
    write_campaign(tmp_path, "plain")
    write_campaign(
        tmp_path,
        "ruled",
        MARKETING + "holdout: {percent: 12.5}\npriority: -3\nwait_minutes: 30\nexpires_after_hours: 0.5\n",
    )
    plain, ruled = load_campaigns(tmp_path)["plain"], load_campaigns(tmp_path)["ruled"]
    assert (plain.holdout, plain.priority, plain.wait_minutes, plain.expires_after_hours) == (None, 0, 0, None)
    assert (ruled.holdout, ruled.priority) == (Holdout(percent=12.5), -3)
    assert (ruled.wait_minutes, ruled.expires_after_hours) == (30, 0.5)


def test_campaigns_hold_out_the_same_people_when_they_share_a_salt(tmp_path: Path) -> None:
    write_campaign(tmp_path, "alone", MARKETING + "holdout: {percent: 10}\n")
    write_campaign(tmp_path, "together", MARKETING + "holdout: {percent: 10, salt: autumn}\n")
    salts = {name: campaign.holdout_salt for name, campaign in load_campaigns(tmp_path).items()}
    assert salts == {"alone": "alone", "together": "autumn"}


def test_a_variant_has_its_own_subject_or_body_or_both(tmp_path: Path) -> None:
    home = write_campaign(tmp_path, "tested", TRANSACTIONAL + "variants: {short: 1, long: 3}\n")
    (home / "subject.short.liquid").write_text("Hi\n", encoding="utf-8")
    (home / "email.long.mjml.liquid").write_text("<mjml>long</mjml>", encoding="utf-8")
    loaded = load_campaigns(tmp_path)["tested"]
    assert loaded.variants == {"short": 1, "long": 3}
    assert loaded.variant_subjects == {"short": "Hi"}
    assert loaded.variant_bodies == {"long": "<mjml>long</mjml>"}


@pytest.mark.parametrize("file", ["subject.tall.liquid", "email.tall.mjml.liquid"])
def test_a_file_of_a_variant_that_is_not_named_is_an_error(tmp_path: Path, file: str) -> None:
    home = write_campaign(tmp_path, "tested")
    (home / file).write_text("Hi\n", encoding="utf-8")
    assert f"{home / file} belongs to no variant; add 'tall' to 'variants'" in problem(tmp_path)


def test_the_subject_of_a_variant_is_one_line_too(tmp_path: Path) -> None:
    home = write_campaign(tmp_path, "tested", MARKETING + "variants: {short: 1}\n")
    (home / "subject.short.liquid").write_text("Hi\nyou\n", encoding="utf-8")
    assert f"{home / 'subject.short.liquid'} must hold exactly one line" in problem(tmp_path)


def weighted(weights: dict[str, int], name: str = "tested") -> Campaign:
    values = {"description": "d", "owner": "o", "trigger": "t", "class": "marketing", "variants": weights}
    texts = {"body": "", "subject": "", "partials": {}, "definition_hash": ""}
    return Campaign.model_validate(values | texts | {"name": name})


_WEIGHTS = st.dictionaries(st.from_regex(r"[a-z]{1,5}", fullmatch=True), st.integers(1, 9), min_size=1, max_size=5)


@given(_WEIGHTS, st.text(max_size=20), st.randoms(use_true_random=False))
def test_a_person_keeps_their_variant_whatever_the_order_in_the_file(
    weights: dict[str, int], profile_id: str, random: Random
) -> None:
    shuffled = random.sample(list(weights.items()), len(weights))
    drawn = weighted(weights).variant_of(profile_id)
    assert drawn in weights
    assert weighted(dict(shuffled)).variant_of(profile_id) == drawn


@given(_WEIGHTS, st.from_regex(r"[a-z]{1,8}", fullmatch=True))
@settings(max_examples=25, deadline=None)
def test_variants_are_drawn_in_proportion_to_their_weights(weights: dict[str, int], name: str) -> None:
    people, total = 3_000, sum(weights.values())
    drawn = Counter(map(weighted(weights, name).variant_of, (f"user:{number}" for number in range(people))))
    for variant, weight in weights.items():
        share = weight / total
        # Six standard deviations of a fair draw: one in a billion.
        assert abs(drawn[variant] - people * share) <= 6 * (people * share * (1 - share)) ** 0.5


def test_two_campaigns_draw_independently() -> None:
    weights = {"a": 1, "b": 1}
    one, other = weighted(weights, "one"), weighted(weights, "other")
    same = sum(one.variant_of(str(person)) == other.variant_of(str(person)) for person in range(1_000))
    assert 400 < same < 600


def test_without_variants_nothing_is_drawn() -> None:
    assert weighted({}).variant_of("user:ann") == ""


def test_the_definition_hash_follows_the_partials_that_are_used_and_no_others(tmp_path: Path) -> None:
    home = write_campaign(tmp_path, "changing", MARKETING + "variants: {short: 1}\n")
    (home / "email.mjml.liquid").write_text("<mjml>{%- render 'outer' -%}</mjml>", encoding="utf-8")
    (home / "subject.short.liquid").write_text('Hi {% render "name" %}', encoding="utf-8")
    shared = tmp_path / "_shared"
    shared.mkdir()
    texts = {"outer": "{% render 'inner', a: 1 %}", "inner": "{% render 'outer' %}", "name": "Ann", "unused": "x"}

    def hash_with(**changed: str) -> str:
        for name, text in (texts | changed).items():
            (shared / f"{name}.liquid").write_text(text, encoding="utf-8")
        return load_campaigns(tmp_path)["changing"].definition_hash

    before = hash_with()
    assert hash_with(unused="y") == before
    assert len({before, hash_with(outer="x"), hash_with(inner="x"), hash_with(name="Bob")}) == 4


def test_the_definition_hash_follows_the_files_of_the_variants(tmp_path: Path) -> None:
    home = write_campaign(tmp_path, "changing", MARKETING + "variants: {short: 1}\n")
    hashes = set()
    for subject in ("Hi", "Hey"):
        (home / "subject.short.liquid").write_text(subject, encoding="utf-8")
        hashes.add(load_campaigns(tmp_path)["changing"].definition_hash)
    assert len(hashes) == 2


def test_a_campaign_is_named_in_snake_case(tmp_path: Path) -> None:
    write_campaign(tmp_path, "Black-Friday")
    assert "snake_case" in problem(tmp_path)


@pytest.mark.parametrize("subject", ["", "One\nTwo\n"])
def test_a_subject_is_exactly_one_line(tmp_path: Path, subject: str) -> None:
    write_campaign(tmp_path, "talkative", subject=subject)
    assert "exactly one line" in problem(tmp_path)


@pytest.mark.parametrize("name", ["campaign.yml", "email.mjml.liquid", "subject.liquid"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    home = write_campaign(tmp_path, "half")
    (home / name).unlink()
    assert f"{home / name} is missing" in problem(tmp_path)


def test_a_file_that_is_not_text_is_named(tmp_path: Path) -> None:
    home = write_campaign(tmp_path, "latin")
    (home / "subject.liquid").write_bytes("Grüße".encode("latin-1"))
    assert "subject.liquid is not UTF-8" in problem(tmp_path)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    assert "does not exist" in problem(tmp_path / "nowhere")


def test_shared_and_hidden_folders_are_no_campaigns(tmp_path: Path) -> None:
    (tmp_path / "_shared").mkdir()
    (tmp_path / ".git").mkdir()
    (tmp_path / "README.md").touch()
    assert load_campaigns(tmp_path) == {}


@pytest.mark.parametrize("name", ["campaign.yml", "email.mjml.liquid", "subject.liquid"])
def test_the_definition_hash_follows_each_of_the_three_files(tmp_path: Path, name: str) -> None:
    home = write_campaign(tmp_path, "changing")
    before = load_campaigns(tmp_path)["changing"].definition_hash
    assert load_campaigns(tmp_path)["changing"].definition_hash == before
    (home / name).write_text((home / name).read_text(encoding="utf-8") + " ", encoding="utf-8")
    assert load_campaigns(tmp_path)["changing"].definition_hash != before
