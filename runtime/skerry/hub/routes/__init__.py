"""The route language: `FROM <source> [WHERE <condition>] INTO <sink>`."""
