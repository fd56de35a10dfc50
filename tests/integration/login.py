"""How people come to their tokens."""

import requests


def log_in(auth: str, password: str) -> dict[str, str]:
    """Returns the tokens of the first admin, from auth at this URL."""
    body = {"username": "admin", "password": password}
    answer = requests.post(f"{auth}/auth/login", json=body, timeout=10)
    assert answer.status_code == 200, answer.text
    tokens: dict[str, str] = answer.json()
    return tokens
