from __future__ import annotations


def walk(client, path, **query):
    """Return all rows and the totals that the pages gave."""
    rows, totals, cursor = [], [], None
    while True:
        page = client.get(path, params={**query, **({"cursor": cursor} if cursor else {})})
        assert page.status_code == 200, page.text
        rows += page.json()["data"]
        pagination = page.json()["pagination"]
        totals.append(pagination.get("total"))
        cursor = pagination["cursor"]
        if not pagination["hasMore"]:
            assert cursor is None
            return rows, totals


def ids(rows):
    return [row["id"] for row in rows]
