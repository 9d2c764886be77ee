"""The operations of API v1 that the simulator has."""

from __future__ import annotations

from airflow_provider_chatbase.simulator.routing import Route
from airflow_provider_chatbase.simulator.v1 import chat, chatbots, contacts, conversations

_V1 = "/api/v1"
_CHATBOT = f"{_V1}/chatbots/{{chatbotId}}"

ROUTES = (
    Route("POST", f"{_V1}/chat", "chat", chat.chat, paced=True),
    Route("POST", f"{_V1}/create-chatbot", "createChatbot", chatbots.create),
    Route("POST", f"{_V1}/update-chatbot-data", "updateChatbotData", chatbots.update_data),
    Route("POST", f"{_V1}/update-chatbot-settings", "updateChatbotSettings", chatbots.update_settings),
    Route("GET", f"{_V1}/get-chatbots", "getChatbots", chatbots.list_chatbots),
    Route("DELETE", f"{_V1}/delete-chatbot", "deleteChatbot", chatbots.delete),
    Route("GET", f"{_V1}/get-conversations", "getConversations", conversations.list_conversations),
    Route("GET", f"{_V1}/get-leads", "getLeads", conversations.list_leads),
    Route("GET", f"{_CHATBOT}/contacts", "listContacts", contacts.list_contacts),
    Route("GET", f"{_CHATBOT}/contacts/{{contactId}}", "getContact", contacts.get),
    Route("GET", f"{_CHATBOT}/custom-attributes", "listCustomAttributes", contacts.list_attributes),
)
