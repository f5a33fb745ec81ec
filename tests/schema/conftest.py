# SPDX-License-Identifier: MIT
"""What asks for the traffic of the whole session comes after all that makes traffic."""


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.name == "test_every_method_was_called")
