from pathlib import Path

import pytest

from wakeline.activation.campaigns import Utm, load_campaigns
from wakeline.errors import ConfigError

SHIPPED = Path(__file__).parent.parent / "campaigns"
MARKETING = "description: A reminder\nowner: crm@example.com\ntrigger: category_dwell\nclass: marketing\n"


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


def test_marketing_needs_the_marketing_consent_unless_it_names_another(tmp_path: Path) -> None:
    write_campaign(tmp_path, "plain")
    write_campaign(tmp_path, "newsletter", MARKETING + "purpose: newsletter\n")
    write_campaign(tmp_path, "receipt", MARKETING.replace("marketing", "transactional"))
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
        (MARKETING + "utm:\n", "line 5: key 'utm' is wrong: Value error, write false to turn it off"),
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
