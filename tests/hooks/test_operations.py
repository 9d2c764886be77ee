"""Every operation of the API: the description, the hook, the simulator and the docs' table agree on it."""

from __future__ import annotations

import operations_table
import pytest

from airflow_provider_chatbase.exceptions import ChatbaseReplyError
from airflow_provider_chatbase.hooks.chatbase import ChatbaseHook
from airflow_provider_chatbase.simulator.description import operations
from airflow_provider_chatbase.simulator.world import HANDLERS

CUSTOMER = {"email": "Ann@example.com", "name": "Ann"}
TOM = "tom@shop.example.com"


class Place:
    """A hook, and ids of what its agent has."""

    def __init__(self, simulator, hook):
        agent = simulator.store.agents[simulator.agent_id]
        self.hook, self.agent_id, self.user_id = hook, agent.id, "ann"
        self.action = agent.actions[0]["id"]
        self.procedure = agent.procedures[0]["id"]
        self.source = next(iter(agent.sources))
        self.contact = agent.contacts[0]["id"]
        self.attribute = agent.attributes[0]["name"]

    def asked(self, message="Hello"):
        return self.hook.send_message(message, user_id=self.user_id, on_tool_calls="return")


def rate(at):
    answer = at.asked()
    at.hook.set_feedback(answer["conversation_id"], answer["message_id"], "positive")


def retry(at):
    answer = at.asked()
    at.hook.retry_message(answer["conversation_id"], answer["message_id"])


def hand_in(at):
    answer = at.asked("What is my order status?")
    at.hook.submit_tool_result(answer["conversation_id"], answer["tool_calls"][0]["id"], {"status": "sent"})


def delete_action(at):
    for procedure in list(at.hook.list_procedures()):
        at.hook.delete_procedure(procedure["id"])
    at.hook.delete_action(at.action)


PROCEDURE = {"name": "P", "trigger": "T", "steps": [{"kind": "instruction", "text": "Say hello."}]}
SHIPPED = {"body": {"1": "Ann", "2": "4711"}}

CALLS = {
    "getHealth": lambda at: at.hook.get_health(),
    "listAgents": lambda at: at.hook.list_agents(),
    "createAgent": lambda at: at.hook.create_agent("Second"),
    "getAgent": lambda at: at.hook.get_agent(),
    "updateAgent": lambda at: at.hook.update_agent({"temp": 0.5}),
    "deleteAgent": lambda at: at.hook.delete_agent(at.agent_id),
    "updateAgentStyles": lambda at: at.hook.update_agent_styles({"chat": {"headerColor": "#aabbcc"}}),
    "updateAgentAutoRetrain": lambda at: at.hook.set_auto_retrain(True),
    "cloneAgent": lambda at: at.hook.clone_agent(),
    "chatWithAgent": lambda at: at.hook.send_message("Hello"),
    "retryMessage": retry,
    "createVoiceSession": lambda at: at.hook.create_voice_session(user_id="ann", time_zone="Europe/Berlin"),
    "listConversations": lambda at: list(at.hook.list_conversations()),
    "exportConversations": lambda at: list(at.hook.export_conversations()),
    "getConversation": lambda at: at.hook.get_conversation(at.asked()["conversation_id"]),
    "updateConversation": lambda at: at.hook.pause_conversation(at.asked()["conversation_id"]),
    "deleteConversation": lambda at: at.hook.delete_conversation(at.asked()["conversation_id"]),
    "listConversationMessages": lambda at: at.hook.list_messages(at.asked()["conversation_id"]),
    "listUserConversations": lambda at: list(at.hook.list_user_conversations("ann")),
    "updateMessageFeedback": rate,
    "submitToolResult": hand_in,
    "getSourcesSummary": lambda at: at.hook.get_sources_summary(),
    "listSources": lambda at: at.hook.list_sources(),
    "createSource": lambda at: at.hook.create_text_source("Parking", "Behind the shop."),
    "getSource": lambda at: at.hook.get_source(at.source),
    "deleteSource": lambda at: at.hook.delete_source(at.source),
    "updateSource": lambda at: at.hook.update_source(at.source, {"name": "Cars"}),
    "listWhatsAppTemplates": lambda at: at.hook.list_whatsapp_templates(),
    "sendWhatsAppTemplateMessage": lambda at: at.hook.send_whatsapp_template(
        "+49 170 1234567", "order_shipped", SHIPPED, language="en"
    ),
    "listTicketStatuses": lambda at: at.hook.list_ticket_statuses(),
    "listHelpdeskTeams": lambda at: at.hook.list_teams(),
    "createTicket": lambda at: at.hook.create_ticket("Lost", "My parcel is lost.", CUSTOMER),
    "listTickets": lambda at: list(at.hook.list_tickets()),
    "searchTickets": lambda at: at.hook.search_tickets("parcel"),
    "getTicket": lambda at: at.hook.get_ticket(3),
    "updateTicket": lambda at: at.hook.update_ticket(3, {"statusCategory": "on_you", "assigneeEmail": TOM}),
    "listTicketMessages": lambda at: list(at.hook.list_ticket_messages(3, types=["reply", "event"])),
    "createTicketMessage": lambda at: at.hook.reply_to_ticket(
        at.hook.create_ticket("Lost", "My parcel is lost.", CUSTOMER)["ticketNumber"],
        "It is found.",
        author_email=TOM,
    ),
    "createFileSource": lambda at: at.hook.upload_file_source("Cars", "cars.txt", b"Parking is free."),
    "updateFileSource": lambda at: at.hook.upload_file_source(
        "Cars", "cars.txt", b"No.", source_id=at.hook.upload_file_source("Cars", "cars.txt", b"Yes.")["id"]
    ),
    "searchConversations": lambda at: list(at.hook.search_conversations(query="refund")),
    "getAgentAnalytics": lambda at: at.hook.get_analytics(time_zone="Europe/Berlin"),
    "listActions": lambda at: list(at.hook.list_actions()),
    "getAction": lambda at: at.hook.get_action(at.action),
    "updateAction": lambda at: at.hook.update_action(at.action, {"name": "order_state"}),
    "deleteAction": delete_action,
    "listProcedures": lambda at: list(at.hook.list_procedures()),
    "createProcedure": lambda at: at.hook.create_procedure(PROCEDURE),
    "getProcedure": lambda at: at.hook.get_procedure(at.procedure),
    "updateProcedure": lambda at: at.hook.update_procedure(at.procedure, {"name": "Q"}),
    "deleteProcedure": lambda at: at.hook.delete_procedure(at.procedure),
    "chat": lambda at: at.hook.send_message("Hello"),
    "createChatbot": lambda at: at.hook.create_agent("Second"),
    "updateChatbotData": lambda at: at.hook.replace_text("We are open from 9 to 5."),
    "updateChatbotSettings": lambda at: at.hook.update_agent({"temp": 0.5}),
    "getChatbots": lambda at: at.hook.list_agents(),
    "deleteChatbot": lambda at: at.hook.delete_agent(at.agent_id),
    "getConversations": lambda at: list(at.hook.export_conversations(channels=["API"])),
    "getLeads": lambda at: list(at.hook.get_leads()),
    "listContacts": lambda at: list(at.hook.list_contacts()),
    "createContacts": lambda at: at.hook.create_contacts([{"external_id": "c-1", "name": "Ann"}]),
    "getContact": lambda at: at.hook.get_contact(at.contact),
    "updateContact": lambda at: at.hook.update_contact(at.contact, {"name": "Anna"}),
    "deleteContact": lambda at: at.hook.delete_contact(at.contact),
    "listCustomAttributes": lambda at: at.hook.list_custom_attributes(),
    "createCustomAttribute": lambda at: at.hook.create_custom_attribute("colour", "text"),
    "updateCustomAttribute": lambda at: at.hook.update_custom_attribute(at.attribute, {"label": "Plan"}),
}
"""Every operation that does something, by a method of the hook."""


@pytest.fixture
def open_place(simulator, connect):
    def open_it(version):
        connect(simulator, extra={"api_version": version})
        return Place(simulator, ChatbaseHook())

    return open_it


def test_none_is_forgotten():
    wanted = set(operations()) - set(operations_table.LEFT_OUT)
    assert set(CALLS) == set(operations_table.methods()) == wanted
    assert set(HANDLERS) == set(operations())


def test_the_table_in_the_docs_is_current():
    told = "Run: PYTHONPATH=. python scripts/operations_table.py"
    assert operations_table.PAGE.read_text(encoding="utf-8") == operations_table.page(), told


@pytest.mark.parametrize("operation", CALLS)
def test_the_hook_reaches_it(simulator, open_place, operation):
    place = open_place(operations()[operation].version)
    result = CALLS[operation](place)
    [*_, status] = [request.status for request in simulator.requests_for(operation)]
    assert 200 <= status < 300
    names = set(CALLS[operation].__code__.co_names)
    assert set(operations_table.methods()[operation]) & names, "the docstring names another operation"
    assert result is None or isinstance(result, (dict, list, bool))


class TestAnyListing:
    def test_by_cursor(self, simulator, open_place):
        place = open_place("v2")
        path = f"/agents/{place.agent_id}/conversations"
        assert list(place.hook.iterate(path, {"limit": 1})) == list(place.hook.list_conversations())
        assert len(simulator.requests_for("listConversations")) > 2

    def test_by_number(self, simulator, open_place):
        place = open_place("v2")
        path = f"/chatbots/{place.agent_id}/contacts"
        found = list(place.hook.iterate(path, {"page": 1, "per_page": 10}, api_version="v1"))
        assert found == list(place.hook.list_contacts())
        assert len(found) == len(simulator.store.contacts(place.agent_id))

    def test_a_bare_list_and_one_by_another_name(self, open_place):
        place = open_place("v2")
        path = f"/agents/{place.agent_id}/helpdesk/teams"
        assert list(place.hook.iterate(path)) == place.hook.list_teams()
        path = f"/agents/{place.agent_id}/whatsapp/templates"
        templates = place.hook.list_whatsapp_templates()["templates"]
        assert list(place.hook.iterate(path, items="templates")) == templates

    def test_says_where_the_lists_are(self, open_place):
        place = open_place("v2")
        with pytest.raises(ChatbaseReplyError, match=r"lists are in templates, unavailableWabaIds, senders"):
            list(place.hook.iterate(f"/agents/{place.agent_id}/whatsapp/templates"))
