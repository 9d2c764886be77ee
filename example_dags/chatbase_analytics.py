"""
Make a report on an agent's conversations: per day and channel, feedback, low-confidence answers, credits.

Chatbase's API has no analytics, so the conversations are exported as Parquet, DuckDB counts, and a page of
HTML shows it; it needs no network. Needs ``duckdb`` and the extra ``parquet``.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, Param, task

from airflow_provider_chatbase.operators.exports import ChatbaseExportConversationsOperator

PARAMS = {
    "agent_id": Param(None, type=["null", "string"], description="Empty: the connection's default agent."),
    "output_path": Param(
        "file:///tmp/chatbase/analytics",
        type="string",
        description="URL of a directory. Several workers: one that they share, as s3://bucket/folder.",
    ),
    "report_path": Param(
        "file:///tmp/chatbase/report.html",
        type="string",
        description="URL of a file. Several workers: where you find it, as s3://bucket/report.html.",
    ),
    "days": Param(60, type="integer", minimum=1, description="How many days the report goes back."),
    "low_score": Param(0.5, type="number", description="Answers with less confidence are listed."),
}

QUERIES = {
    "days": """
        SELECT created_at::DATE AS day, coalesce(channel, '(none)') AS channel, count(*) AS conversations
        FROM conversations GROUP BY ALL ORDER BY ALL""",
    "totals": """
        SELECT (SELECT count(*) FROM conversations) AS conversations, count(*) AS messages,
            count(*) FILTER (feedback = 'negative') AS negative,
            count(*) FILTER (feedback = 'positive') AS positive,
            count(*) FILTER (score < $low) AS unsure, count(score) AS scored
        FROM messages""",
    "unsure": """
        SELECT a.score, coalesce(a.channel, '(none)') AS channel, a.conversation_id,
            (SELECT arg_max(q.text, q.position) FROM messages q WHERE q.conversation_id = a.conversation_id
                AND q.role = 'user' AND q.position < a.position) AS question
        FROM messages a WHERE a.score < $low ORDER BY a.score, a.conversation_id, a.position LIMIT 15""",
}

with DAG(
    dag_id="chatbase_analytics",
    schedule=None,
    params=PARAMS,
    default_args={"retries": 2, "retry_delay": timedelta(seconds=30)},
    tags=["chatbase", "example"],
    doc_md=__doc__,
) as dag:
    export = ChatbaseExportConversationsOperator(
        task_id="export",
        agent_id="{{ params.agent_id or '' }}",
        output_path="{{ params.output_path }}",
        start="{{ macros.ds_add(macros.datetime.now().strftime('%Y-%m-%d'), -params.days) }}",
        file_format="parquet",
        redact={"*": "detect"},  # the report shows questions, and nobody's address
    )

    @task(multiple_outputs=False)
    def credits_used(params: dict[str, Any]) -> dict[str, Any]:
        """Read the agent's credits of this month."""
        from airflow_provider_chatbase.hooks.chatbase import ChatbaseHook

        with ChatbaseHook() as hook:
            agent = hook.get_agent(params["agent_id"])
        return {name: agent.get(name) for name in ("name", "creditsUsed", "creditLimit")}

    @task(multiple_outputs=False)
    def report(exported: dict[str, Any], agent: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
        """Write the page; the texts in it go nowhere else."""
        from airflow.sdk import ObjectStoragePath

        found = analyse(exported, params["low_score"])
        path = ObjectStoragePath(params["report_path"])
        if path.protocol in ("file", ""):
            path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page(found, agent, params["low_score"]), encoding="utf-8")
        return {"report_path": str(path), **found["totals"][0]}

    report(export.output, credits_used())


def analyse(exported: dict[str, Any], low: float) -> dict[str, Any]:
    """
    Count with DuckDB, over the files that the export's manifest lists.

    :param exported: what the export returned.
    :param low: below which confidence an answer is listed.
    :return: the rows of each query.
    """
    import duckdb

    database = duckdb.connect()
    database.execute("SET TimeZone = 'UTC'")
    for table in ("conversations", "messages"):
        database.register(table, _table(exported, table))
    found: dict[str, Any] = {}
    for name, query in QUERIES.items():
        cursor = database.execute(query, {"low": low} if "$low" in query else None)
        columns = [column[0] for column in cursor.description]
        found[name] = [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]
    return found


def _table(exported: dict[str, Any], table: str) -> Any:
    import json

    import pyarrow as pa
    import pyarrow.parquet as pq
    from airflow.sdk import ObjectStoragePath

    root, pieces = ObjectStoragePath(exported["output_path"]), []
    for file in json.loads(ObjectStoragePath(exported["manifest_path"]).read_text())["files"]:
        if file["table"] == table:
            with (root / file["path"]).open("rb") as stream:
                pieces.append(pq.read_table(stream))
    return pa.concat_tables(pieces)


COLOURS = ("#2f6fde", "#f2a33a", "#39a36b", "#c2509a", "#7a6bd0", "#4bb4c4", "#a0a7b4")
WIDTH, HEIGHT, LEFT, BOTTOM = 860, 260, 36, 24
STYLE = """
body { font: 14px/1.45 system-ui, sans-serif; color: #1d2430; margin: 32px auto; max-width: 860px }
h1 { font-size: 22px } h2 { font-size: 16px; margin-top: 28px } text { font-size: 11px; fill: #667 }
.cards { display: flex; gap: 12px }
.cards div { flex: 1; background: #f3f5f9; border-radius: 8px; padding: 12px; color: #556 }
.cards b { display: block; font-size: 20px; color: #1d2430; white-space: nowrap }
.key span { margin-right: 14px; white-space: nowrap }
.key i { display: inline-block; width: 10px; height: 10px; margin-right: 5px }
table { border-collapse: collapse; width: 100% }
td, th { text-align: left; padding: 5px 8px; border-bottom: 1px solid #e4e7ee }
code { font-size: 11px; color: #667 }
"""


def page(found: dict[str, Any], agent: dict[str, Any], low: float) -> str:
    """
    Write the report as a page of HTML.

    :param found: the rows of the queries.
    :param agent: the agent's name and credits.
    :param low: below which confidence an answer is listed.
    """
    [totals] = found["totals"]
    rated = totals["negative"] + totals["positive"]
    limit = f" of {agent['creditLimit']:,}" if agent.get("creditLimit") else ""
    cards = {
        "conversations": f"{totals['conversations']:,}",
        "messages": f"{totals['messages']:,}",
        "negative of rated answers": f"{totals['negative'] / rated:.0%}" if rated else "none rated",
        f"answers below {low:g} confidence": f"{totals['unsure']:,} of {totals['scored']:,}",
        "credits this month": f"{agent.get('creditsUsed') or 0:,}{limit}",
    }
    shown = "".join(f"<div><b>{_text(value)}</b>{_text(name)}</div>" for name, value in cards.items())
    rows = "".join(
        f"<tr><td>{row['score']:.2f}</td><td>{_text(row['channel'])}</td>"
        f"<td>{_text(row['question'] or '')}</td><td><code>{_text(row['conversation_id'])}</code></td></tr>"
        for row in found["unsure"]
    )
    return f"""<!doctype html><meta charset="utf-8"><title>{_text(agent.get("name"))}</title>
<style>{STYLE}</style>
<h1>{_text(agent.get("name"))}</h1><div class="cards">{shown}</div>
<h2>Conversations per day and channel (UTC)</h2>{chart(found["days"])}
<h2>Answers with the least confidence</h2>
<table><tr><th>score</th><th>channel</th><th>question</th><th>conversation</th></tr>{rows}</table>
"""


def chart(days: list[dict[str, Any]]) -> str:
    """
    Draw stacked bars, one a day.

    :param days: rows of day, channel and conversations.
    """
    from collections import Counter
    from datetime import date

    if not days:
        return "<p>No conversations.</p>"
    channels = Counter()
    by_day: dict[str, Counter[str]] = {}
    for row in days:
        channels[row["channel"]] += row["conversations"]
    named = [name for name, _ in channels.most_common(len(COLOURS) - 1)]
    for row in days:
        channel = row["channel"] if row["channel"] in named else "other"
        by_day.setdefault(str(row["day"]), Counter())[channel] += row["conversations"]
    first, last = date.fromisoformat(min(by_day)), date.fromisoformat(max(by_day))
    every = [str(first + timedelta(days=n)) for n in range((last - first).days + 1)]
    keys = [*named, "other"] if len(channels) > len(named) else named
    colour = dict(zip(keys, [*COLOURS[: len(named)], COLOURS[-1]], strict=False))
    top = max(sum(each.values()) for each in by_day.values())
    step, scale = (WIDTH - LEFT) / len(every), (HEIGHT - BOTTOM - 10) / top
    drawn = []
    for mark in sorted({top, round(top / 2), 0}):
        y = HEIGHT - BOTTOM - mark * scale
        drawn.append(f'<line x1="{LEFT}" x2="{WIDTH}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e4e7ee"/>')
        drawn.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{mark}</text>')
    for number, day in enumerate(every):
        x, y = LEFT + number * step, float(HEIGHT - BOTTOM)
        for key in keys:
            tall = by_day.get(day, Counter())[key] * scale
            y -= tall
            drawn.append(
                f'<rect x="{x + step * 0.1:.1f}" y="{y:.1f}" width="{step * 0.8:.1f}" height="{tall:.1f}" '
                f'fill="{colour[key]}"><title>{day} {_text(key)}</title></rect>'
            )
        if number % max(len(every) // 8, 1) == 0:
            drawn.append(f'<text x="{x:.1f}" y="{HEIGHT - 8}">{day[5:]}</text>')
    key = "".join(f'<span><i style="background:{colour[each]}"></i>{_text(each)}</span>' for each in keys)
    return f'<svg width="{WIDTH}" height="{HEIGHT}">{"".join(drawn)}</svg><p class="key">{key}</p>'


def _text(value: Any) -> str:
    from html import escape

    return escape(str(value))
