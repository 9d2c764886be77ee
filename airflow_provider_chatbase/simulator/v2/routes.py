"""The operations of API v2 that the simulator has."""

from __future__ import annotations

from airflow_provider_chatbase.simulator.routing import Route
from airflow_provider_chatbase.simulator.v2 import (
    agents,
    chat,
    conversations,
    export,
    file_sources,
    health,
    search,
    sources,
)

_AGENTS = "/api/v2/agents"
_AGENT = f"{_AGENTS}/{{agentId}}"
_SOURCES = f"{_AGENT}/sources"
_SOURCE = f"{_SOURCES}/{{sourceId}}"
_CONVERSATIONS = f"{_AGENT}/conversations"
_CONVERSATION = f"{_CONVERSATIONS}/{{conversationId}}"
_FEEDBACK = f"{_CONVERSATION}/messages/{{messageId}}/feedback"

ROUTES = (
    Route("GET", "/api/v2/health", "getHealth", health.health, open=True),
    Route("GET", _AGENTS, "listAgents", agents.list_agents),
    Route("POST", _AGENTS, "createAgent", agents.create),
    Route("GET", _AGENT, "getAgent", agents.get),
    Route("PUT", _AGENT, "updateAgent", agents.update),
    Route("DELETE", _AGENT, "deleteAgent", agents.delete),
    Route("PUT", f"{_AGENT}/styles", "updateAgentStyles", agents.update_styles),
    Route("PUT", f"{_AGENT}/auto-retrain", "updateAgentAutoRetrain", agents.update_auto_retrain),
    Route("POST", f"{_AGENT}/clone", "cloneAgent", agents.clone),
    Route("POST", f"{_AGENT}/train", "trainAgent", agents.train),
    Route("POST", f"{_AGENT}/chat", "chatWithAgent", chat.chat, paced=True),
    Route("POST", f"{_CONVERSATION}/retry", "retryMessage", chat.retry, paced=True),
    Route("POST", f"{_CONVERSATION}/tool-result", "submitToolResult", chat.submit_tool_result),
    Route("GET", _CONVERSATIONS, "listConversations", conversations.list_conversations),
    Route("GET", f"{_CONVERSATIONS}/export", "exportConversations", export.export_conversations),
    Route("GET", f"{_CONVERSATIONS}/search", "searchConversations", search.search_conversations),
    Route("GET", _CONVERSATION, "getConversation", conversations.get),
    Route("PATCH", _CONVERSATION, "updateConversation", conversations.update),
    Route("GET", f"{_CONVERSATION}/messages", "listConversationMessages", conversations.list_messages),
    Route("PATCH", _FEEDBACK, "updateMessageFeedback", conversations.rate_message),
    Route(
        "GET", f"{_AGENT}/users/{{userId}}/conversations", "listUserConversations", conversations.list_of_user
    ),
    Route("GET", f"{_SOURCES}/summary", "getSourcesSummary", sources.summary),
    Route("GET", _SOURCES, "listSources", sources.list_sources),
    Route("POST", _SOURCES, "createSource", sources.create),
    Route("GET", _SOURCE, "getSource", sources.get),
    Route("PUT", _SOURCE, "updateSource", sources.update),
    Route("DELETE", _SOURCE, "deleteSource", sources.delete),
    Route("POST", f"{_SOURCE}/restore", "restoreSource", sources.restore),
    Route("POST", _SOURCES, "createFileSource", file_sources.create, multipart=True),
    Route("PUT", _SOURCE, "updateFileSource", file_sources.update, multipart=True),
)
