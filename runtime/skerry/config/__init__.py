"""config.toml: reading it, checking it, planning what it means, and putting it in force.

    problems  what can be wrong, and where          document  text -> tables, all problems at once
    locate    line and column of every key path     model     the typed configuration
    validate  walks schema.json                     build     tables -> model
    rules     what a schema cannot say              plan      model -> files of each service, pure
    support   what this version refuses             apply     plan -> a generation in force

Only the standard library is imported: the factory uses this package on the operator's machine.
"""
