"""Every operation of the API description: it is there, and its reply is what the description says."""

from __future__ import annotations

import pytest

from airflow_provider_chatbase.simulator.description import operations, reasons
from airflow_provider_chatbase.simulator.world import HANDLERS

TEXT = {"type": "text", "name": "Parking", "content": "Parking behind the shop is free."}
CONTACT = {"external_id": "c-1", "name": "Ann", "email": "ann@example.com"}
TICKET = {"subject": "Lost", "description": "My parcel is lost.", "customer": {"email": "ANN@example.com"}}
PROCEDURE = {"name": "P", "trigger": "T", "steps": [{"kind": "instruction", "text": "Use @refund_payment."}]}
TEMPLATE = {"name": "order_shipped", "language": "en", "variables": {"body": {"1": "Ann", "2": "4711"}}}
FILE = {"files": {"file": ("a.txt", b"x")}, "data": {"name": "a"}}


def icon(file):
    return {"files": {file: ("i.png", b"x")}, "data": {"chatbotId": "{chatbotId}"}}


CALLS = {
    "getHealth": {},
    "listAgents": {},
    "createAgent": {"json": {"name": "Second", "url": "https://example.com"}},
    "getAgent": {},
    "updateAgent": {"json": {"temp": 0.5}},
    "updateAgentStyles": {"json": {"styles": {"chat": {"headerColor": "#aBc"}}}},
    "updateAgentAutoRetrain": {"json": {"enabled": True}},
    "cloneAgent": {},
    "trainAgent": {},
    "chatWithAgent": {"json": {"message": "Hello", "stream": False, "userId": "ann"}},
    "createVoiceSession": {"json": {}},
    "listConversations": {},
    "exportConversations": {},
    "searchConversations": {"params": {"query": "refund"}},
    "getAgentAnalytics": {},
    "listUserConversations": {},
    "getConversation": {},
    "listConversationMessages": {},
    "updateMessageFeedback": {"json": {"feedback": "positive"}},
    "retryMessage": {"json": {"messageId": "{messageId}", "stream": False}},
    "updateConversation": {"json": {"status": "paused"}},
    "deleteConversation": {},
    "getSourcesSummary": {},
    "listSources": {},
    "createSource": {"json": TEXT},
    "getSource": {},
    "updateSource": {"json": {"name": "Cars"}},
    "restoreSource": {},
    "deleteSource": {},
    "createFileSource": FILE,
    "updateFileSource": FILE,
    "listTicketStatuses": {},
    "listHelpdeskTeams": {},
    "createTicket": {"json": TICKET},
    "listTickets": {},
    "searchTickets": {"json": {"query": "parcel"}},
    "getTicket": {},
    "updateTicket": {"json": {"statusCategory": "on_you", "assigneeEmail": "Mara@shop.example.com"}},
    "listTicketMessages": {},
    "createTicketMessage": {
        "json": {"type": "reply", "content": "It is found.", "authorEmail": "tom@shop.example.com"}
    },
    "listWhatsAppTemplates": {},
    "sendWhatsAppTemplateMessage": {"json": {"to": "+49 170 1234567", "template": TEMPLATE}},
    "listActions": {},
    "getAction": {},
    "updateAction": {"json": {"name": "order_state"}},
    "listProcedures": {},
    "createProcedure": {"json": PROCEDURE},
    "getProcedure": {},
    "updateProcedure": {"json": {"name": "Q"}},
    "deleteProcedure": {},
    "deleteAction": {},
    "chat": {"json": {"chatbotId": "{chatbotId}", "messages": [{"role": "user", "content": "Hello"}]}},
    "createChatbot": {"json": {"chatbotName": "Night bot"}},
    "updateChatbotData": {"json": {"chatbotId": "{chatbotId}", "chatbotName": "Ridgeline"}},
    "updateChatbotSettings": {"json": {"chatbotId": "{chatbotId}", "temp": 0.3}},
    "getChatbots": {},
    "getConversations": {"params": {"chatbotId": "{chatbotId}", "filteredSources": "API,WhatsApp"}},
    "getLeads": {"params": {"chatbotId": "{chatbotId}"}},
    "createContacts": {"json": {"users": [CONTACT]}},
    "listContacts": {},
    "getContact": {},
    "updateContact": {"json": {"data": {"name": "Anna"}}},
    "deleteContact": {},
    "listCustomAttributes": {},
    "createCustomAttribute": {"json": {"name": "colour", "type": "text"}},
    "updateCustomAttribute": {"json": {"label": "Colour"}},
    "uploadChatbotIcon": icon("chatbotIconFile"),
    "uploadChatbotProfilePicture": icon("profilePictureFile"),
    "deleteChatbotIcon": {"params": {"chatbotId": "{chatbotId}"}},
    "deleteChatbotProfilePicture": {"params": {"chatbotId": "{chatbotId}"}},
}


def test_every_operation_is_there():
    assert set(HANDLERS) == set(operations())
    assert set(operations()) - set(CALLS) == {"deleteAgent", "deleteChatbot", "submitToolResult"}


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_every_reply_is_as_described(start, connect, version):
    simulator = start(odd_data=False)
    client = connect(simulator, headers={"Authorization": f"Bearer {simulator.api_key}"})
    agent = simulator.store.agents[simulator.agent_id]
    names = {"agentId": agent.id, "chatbotId": agent.id, "userId": "ann", "ticketNumber": 3, "name": "plan"}
    names |= {"contactId": "c-1", "actionId": agent.actions[0]["id"]}
    names |= {"procedureId": agent.procedures[0]["id"]}
    for identifier, how in CALLS.items():
        operation = operations()[identifier]
        if operation.version != version:
            continue
        simulator.advance(70)  # trainings finish, and uploads are free again
        reply = client.request(operation.method, url(simulator, operation.path, names), **filled(how, names))
        described = operation.facts["responses"]
        assert str(reply.status_code) in described, (identifier, reply.text)
        assert reply.status_code < 300, (identifier, reply.text)
        pointer = f"{operation.pointer}/responses/{reply.status_code}/content/application~1json/schema"
        against = reasons(version, pointer, reply.json())
        if identifier == "deleteSource":
            del against["status"]  # "deleted"; the description says itself that its schema lacks it
        assert against == {}, identifier
        remember(identifier, reply.json(), names)


def url(simulator, path, names):
    return simulator.url + path.format(**names)


def filled(how, names):
    def fill(value):
        if isinstance(value, dict):
            return {name: fill(each) for name, each in value.items()}
        return value.format(**names) if isinstance(value, str) and value.startswith("{") else value

    return {name: value if name == "files" else fill(value) for name, value in how.items()}


def remember(identifier, reply, names):
    if identifier == "chatWithAgent":
        names |= {"conversationId": reply["data"]["metadata"]["conversationId"]}
        names |= {"messageId": reply["data"]["id"]}
    if identifier in {"createSource", "createFileSource"}:
        names |= {"sourceId": reply["id"]}


class TestTickets:
    @pytest.fixture
    def path(self, agent):
        return f"{agent}/helpdesk/tickets"

    def code(self, reply):
        return reply.status_code, reply.json()["error"]["code"]

    def test_from_customer_to_reply(self, v2, path):
        made = v2.post(path, json=TICKET).json()
        assert (made["ticketNumber"], made["channel"], made["statusCategory"]) == (26, "api", "new")
        messages = v2.get(f"{path}/26/messages").json()["data"]
        assert [(each["sender"]["type"], each["contentText"]) for each in messages] == [
            ("customer", "My parcel is lost.")
        ]
        reply = {"type": "reply", "content": "Found!", "authorEmail": "tom@shop.example.com"}
        assert v2.post(f"{path}/26/messages", json=reply).json()["sender"]["name"] == "Tom Berg"
        newest = v2.get(f"{path}/26/messages", params={"order": "desc", "limit": 1}).json()
        assert (newest["data"][0]["contentText"], newest["pagination"]["total"]) == ("Found!", 2)
        found = v2.post(f"{path}/search", json={"query": "found lost"}).json()["data"]
        assert [each["ticketNumber"] for each in found] == [26]

    @pytest.mark.parametrize(
        ("body", "expected"),
        [
            ({"statusId": "11111111-1111-4111-a111-111111111111"}, (422, "TICKET_INVALID_STATUS")),
            ({"assigneeEmail": "nobody@example.com"}, (422, "TICKET_TEAM_MEMBER_NOT_FOUND")),
            ({"teamId": "11111111-1111-4111-a111-111111111111"}, (422, "TICKET_TEAM_NOT_FOUND")),
            ({"priority": "top"}, (400, "VALIDATION_INVALID_BODY")),
            ({"statusId": "new"}, (400, "VALIDATION_INVALID_BODY")),
        ],
        ids=str,
    )
    def test_a_bad_change_changes_nothing(self, v2, path, body, expected):
        before = v2.get(f"{path}/3").json()
        assert self.code(v2.patch(f"{path}/3", json={"priority": "urgent", **body})) == expected
        assert v2.get(f"{path}/3").json() == before

    def test_nobody_is_an_assignee_too(self, v2, path):
        assert v2.patch(f"{path}/3", json={"assigneeId": None}).json()["assigneeId"] is None
        assert self.code(v2.get(f"{path}/99")) == (404, "TICKET_NOT_FOUND")
        assert self.code(v2.get(f"{path}/x")) == (400, "VALIDATION_INVALID_BODY")

    def test_a_live_conversation_is_the_agents(self, simulator, v2, path):
        [conversation] = simulator.create_conversations(source="Email")
        simulator.store.agents[simulator.agent_id].tickets[3]["conversationId"] = conversation.id
        reply = {"type": "reply", "content": "Hi", "authorEmail": "tom@shop.example.com"}
        refused = v2.post(f"{path}/3/messages", json=reply)
        assert self.code(refused) == (409, "CONVERSATION_NOT_TAKEN_OVER")
        conversation.status = "taken_over"
        assert v2.post(f"{path}/3/messages", json=reply).status_code == 201


def test_procedures_go_with_their_actions(v2, agent):
    [lookup, refund] = [
        next(each for each in v2.get(f"{agent}/actions").json()["data"] if each["name"] == name)["id"]
        for name in ("check_order_status", "refund_payment")
    ]
    made = v2.post(f"{agent}/procedures", json=PROCEDURE).json()
    assert (made["status"], made["unavailableActions"]) == ("disabled", ["@refund_payment"])
    path = f"{agent}/procedures/{made['id']}"
    assert v2.patch(path, json={"status": "enabled"}).status_code == 400
    assert v2.patch(f"{agent}/actions/{refund}", json={"status": "enabled"}).status_code == 200
    assert v2.patch(path, json={"status": "enabled"}).json()["unavailableActions"] == []
    v2.patch(f"{agent}/actions/{refund}", json={"name": "pay_back"})
    assert v2.get(path).json()["steps"][0]["text"] == "Use @pay_back."
    assert v2.delete(f"{agent}/actions/{refund}").status_code == 409
    assert v2.delete(path).status_code == 200
    assert v2.delete(f"{agent}/actions/{refund}").status_code == 200
    assert v2.get(f"{agent}/actions/{lookup}").json()["whenToUse"]
    listed = [each["name"] for each in v2.get(f"{agent}/actions").json()["data"]]
    assert listed == sorted(listed) == ["check_order_status", "collect_leads"]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"name": "nothing"}, (404, "TEMPLATE_NOT_FOUND")),
        ({"name": "we_miss_you"}, (409, "TEMPLATE_NOT_APPROVED")),
        ({"language": None}, (400, "TEMPLATE_LANGUAGE_REQUIRED")),
        ({"variables": {"body": {"1": "Ann"}}}, (422, "MISSING_TEMPLATE_VARIABLES")),
        ({"variables": {"body": {"1": "Ann", "2": "a\nb"}}}, (422, "INVALID_TEMPLATE_VARIABLES")),
    ],
    ids=str,
)
def test_templates_that_cannot_be_sent(v2, agent, change, expected):
    template = {name: value for name, value in {**TEMPLATE, **change}.items() if value is not None}
    reply = v2.post(f"{agent}/whatsapp/messages/template", json={"to": "+491701234567", "template": template})
    assert (reply.status_code, reply.json()["error"]["code"]) == expected


def test_a_deleted_conversation_is_gone_everywhere(simulator, v2, agent):
    conversation = simulator.store.conversations(simulator.agent_id)[0]
    assert v2.delete(f"{agent}/conversations/{conversation.id}").status_code == 200
    assert v2.delete(f"{agent}/conversations/{conversation.id}").status_code == 404
    page = v2.get(f"{agent}/conversations/export").json()
    assert page["pagination"]["total"] == 59
    assert conversation.id not in {each["id"] for each in page["data"]}
    assert conversation.id not in {
        each["id"] for each in v2.get(f"{agent}/conversations/search").json()["data"]
    }


def test_an_ended_conversation_can_be_resumed(simulator, v2, agent):
    [conversation] = simulator.create_conversations()
    path = f"{agent}/conversations/{conversation.id}"
    assert v2.patch(path, json={"status": "ended"}).json()["data"]["status"] == "ended"
    assert v2.patch(path, json={"paused": False}).status_code == 400
    assert v2.patch(path, json={"status": "ongoing"}).json()["data"]["status"] == "ongoing"


def test_contacts_are_written_all_or_none(simulator, connect):
    v1 = connect(simulator, "v1")
    path = f"/chatbots/{simulator.agent_id}/contacts"
    twice = v1.post(path, json={"users": [CONTACT, CONTACT]})
    assert (twice.status_code, len(simulator.store.contacts(simulator.agent_id))) == (409, 30)
    bad = {**CONTACT, "custom_attributes": {"plan": 7}}
    assert v1.post(path, json={"users": [bad]}).status_code == 400
    given = {**CONTACT, "colour": "red", "custom_attributes": {"plan": "pro", "height": 2}}
    [made] = v1.post(path, json={"users": [given]}).json()["data"]
    assert ("colour" in made, made["custom_attributes"]) == (False, {"plan": "pro"})
    assert v1.patch(f"{path}/c-1", json={"name": "bare"}).status_code == 400
    changed = v1.patch(f"{path}/c-1", json={"data": {"name": "Anna"}}).json()["data"]
    assert (changed["name"], changed["custom_attributes"]) == ("Anna", {"plan": "pro"})
    assert v1.delete(f"{path}/c-1").status_code == 200
    assert v1.get(f"{path}/c-1").status_code == 404


def test_analytics_go_by_last_activity(simulator, v2, agent):
    simulator.create_conversations(count=3)
    buckets = v2.get(f"{agent}/analytics").json()["data"]["buckets"]
    assert (len(buckets), buckets[-1]["conversations"] >= 3) == (7, True)
    assert v2.get(f"{agent}/analytics", params={"startDate": "2001-01-01"}).status_code == 400
