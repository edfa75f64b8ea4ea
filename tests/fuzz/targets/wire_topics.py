"""Topics, property bags and user names from a peer."""

from skerry.wire.topics import (
    Events,
    TopicError,
    decode_properties,
    encode_properties,
    join_properties,
    parse_client_topic,
    parse_hub_topic,
    parse_user_name,
    split_properties,
)

ALLOWED = (TopicError,)
SEEDS = (
    b"devices/d/modules/m/messages/events/%24.ct=application%2Fjson&a=b/",
    b"$iothub/twin/PATCH/properties/reported/?$rid=1",
    b"$iothub/twin/res/204/?$rid=1&$version=3",
    b"$iothub/methods/POST/name/?$rid=1",
    b"hub/d/m/?api-version=2019-10-01&DeviceClientType=x",
)


def one(data: bytes) -> None:
    """Read a text as each of them; a bag that is read is written as it was meant."""
    text = data.decode("utf-8", errors="replace")
    for parse in (parse_hub_topic, parse_user_name):
        try:
            parse(text)
        except TopicError:
            continue
    topic = parse_client_topic(text)
    if isinstance(topic, Events):
        properties = decode_properties(topic.bag)
        assert decode_properties(encode_properties(properties)) == properties
        join_properties(*split_properties(properties))
