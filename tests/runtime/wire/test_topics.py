"""IoT Hub's topics, property bags and user names, as the stock SDKs write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.wire.topics import (
    ClientTopic,
    DesiredPatch,
    Events,
    HubTopic,
    MethodCall,
    MethodResponse,
    ReportedPatch,
    TopicError,
    TwinGet,
    TwinResponse,
    UserName,
    c2d_topic,
    decode_properties,
    desired_topic,
    encode_properties,
    events_topic,
    join_properties,
    method_response_topic,
    method_topic,
    parse_client_topic,
    parse_hub_topic,
    parse_user_name,
    reported_topic,
    split_properties,
    twin_get_topic,
    twin_response_topic,
    user_name,
)

_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(st.dictionaries(_texts, _texts))
def test_a_bag_is_read_as_it_was_written(properties: dict[str, str]) -> None:
    """Any text is kept, and no slash, plus or hash ends up in the topic."""
    bag = encode_properties(properties)
    assert decode_properties(bag) == ({} if bag == "" else properties)
    assert not set(bag) & set("/+# ")


def test_a_bag_of_the_python_sdk_is_read() -> None:
    """Encoded names, a plus as %2B, a flag without a value."""
    bag = "%24.mid=a%2Bb&%24.ct=application%2Fjson&my%20key=%C3%BC&flag"
    assert decode_properties(bag) == {
        "$.mid": "a+b",
        "$.ct": "application/json",
        "my key": "ü",
        "flag": "",
    }


def test_a_bag_that_is_not_utf8_is_refused() -> None:
    """The offending part is named."""
    with pytest.raises(TopicError, match="property 'a=%FF' is not UTF-8"):
        decode_properties("a=%FF")


def test_system_properties_have_one_long_name() -> None:
    """Both spellings of ack mean the same; the way back gives the short names."""
    system, own = split_properties({"$.ct": "x", "ack": "full", "mine": "1"})
    assert (system, own) == ({"content-type": "x", "ack": "full"}, {"mine": "1"})
    assert join_properties(system, own) == {"$.ct": "x", "iothub-ack": "full", "mine": "1"}


@pytest.mark.parametrize(
    ("topic", "expected"),
    [
        ("devices/d/messages/events/", Events("d", None, "")),
        ("devices/d/messages/events", Events("d", None, "")),
        ("devices/d/messages/events/a=1", Events("d", None, "a=1")),
        ("devices/d/messages/events/a=1/", Events("d", None, "a=1")),
        ("devices/d/modules/m/messages/events/%24.on=o", Events("d", "m", "%24.on=o")),
        ("devices/d%41/modules/$edgeHub/messages/events/", Events("d%41", "$edgeHub", "")),
        (twin_get_topic("7"), TwinGet("7")),
        (reported_topic("7"), ReportedPatch("7")),
        (method_response_topic(200, "7"), MethodResponse(200, "7")),
    ],
)
def test_what_clients_publish_is_known(topic: str, expected: ClientTopic) -> None:
    """With and without slashes at the end, for devices and modules."""
    assert parse_client_topic(topic) == expected


@pytest.mark.parametrize(
    ("topic", "expected"),
    [
        (twin_response_topic(200, "7"), TwinResponse(200, "7", None)),
        (twin_response_topic(204, "7", 3), TwinResponse(204, "7", 3)),
        (desired_topic(3), DesiredPatch(3)),
        (method_topic("do it", "7"), MethodCall("do it", "7")),
    ],
)
def test_what_hubs_publish_is_known(topic: str, expected: HubTopic) -> None:
    """What one side builds the other one reads."""
    assert parse_hub_topic(topic) == expected


@pytest.mark.parametrize(
    "topic",
    [
        "",
        "x",
        "devices/d",
        "devices//messages/events/",
        "devices/d/messages/devicebound/",
        "devices/d/modules//messages/events/",
        "devices/d/messages/events/a/b",
        "$iothub/twin/PUT/?$rid=1",
        "$iothub/twin/GET/",
        "$iothub/methods/res/x/?$rid=1",
        "$iothub/methods/res/²/?$rid=1",
    ],
)
def test_other_topics_are_refused(topic: str) -> None:
    """The topic is named."""
    with pytest.raises(TopicError, match="topic"):
        parse_client_topic(topic)


@pytest.mark.parametrize(
    "topic",
    ["", "$iothub/twin/res/200/", "$iothub/methods/POST/?$rid=1",
     "$iothub/twin/PATCH/properties/desired/?$version=x"],
)  # fmt: skip
def test_other_topics_of_a_hub_are_refused(topic: str) -> None:
    """The topic is named."""
    with pytest.raises(TopicError, match="topic"):
        parse_hub_topic(topic)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "h/d/?api-version=2019-10-01&DeviceClientType=py%2Fx",
            UserName("h", "d", None, "2019-10-01", {"DeviceClientType": "py/x"}),
        ),
        ("h/d/m/?api-version=v", UserName("h", "d", "m", "v")),
        ("h/d/?api-version=v&auth-chain=d;e", UserName("h", "d", None, "v", auth_chain="d;e")),
        ("h/d/api-version=v&x=1", UserName("h", "d", None, "v", {"x": "1"})),
        ("h/d?%41/?api-version=v", UserName("h", "d?%41", None, "v")),
    ],
)
def test_user_names_of_the_sdks_are_read(text: str, expected: UserName) -> None:
    """With and without a module, a question mark, options."""
    assert parse_user_name(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "h", "h/d", "h/d/", "h//?api-version=v", "h/d/?x=1", "a/b/c/d/?api-version=v"],
)
def test_other_user_names_are_refused(text: str) -> None:
    """The message shows what was expected."""
    with pytest.raises(TopicError, match="expected 'HOST/DEVICE"):
        parse_user_name(text)


def test_names_are_built_as_the_sdks_expect() -> None:
    """User name, events and C2D topics."""
    assert user_name("h", "d/m", "v", "a b") == "h/d/m/?api-version=v&DeviceClientType=a%20b"
    chained = user_name("h", "d/m", "v", auth_chain="d/m;d;e")
    assert chained == "h/d/m/?api-version=v&auth-chain=d%2Fm%3Bd%3Be"
    assert parse_user_name(chained).auth_chain == "d/m;d;e"
    assert events_topic("d", "m", {"$.on": "o"}) == "devices/d/modules/m/messages/events/%24.on=o"
    assert c2d_topic("d", {"a": "/"}) == "devices/d/messages/devicebound/a=%2F"
