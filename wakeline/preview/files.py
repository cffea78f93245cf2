"""A mail as files: what a browser shows, what a text reader shows, and what stands above both."""

from pathlib import Path

from wakeline.activation.esp.protocol import Mail

HTML_FILE = "mail.html"


def write_mail(mail: Mail, folder: Path) -> None:
    """Write mail.html, mail.txt, subject.txt and headers.txt into the folder, over those of an earlier mail."""
    folder.mkdir(parents=True, exist_ok=True)
    headers = {"From": mail.sender, "To": mail.to, "Subject": mail.subject, **mail.headers}
    texts = {
        HTML_FILE: mail.html,
        "mail.txt": mail.text,
        "subject.txt": f"{mail.subject}\n",
        "headers.txt": "".join(f"{name}: {value}\n" for name, value in headers.items()),
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
