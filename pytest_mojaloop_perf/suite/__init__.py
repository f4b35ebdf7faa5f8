"""The live suites in an installed package: `pytest --pyargs pytest_mojaloop_perf.suite -m perf`.

A wheel brings them as the subpackages `infra`, `deploy` and `perf`; in a checkout they are `tests/infra`,
`tests/deploy` and `tests/perf`, and this package is empty.
"""
