"""Columns encoded at once are what the client would have sent, one argument after the other."""

import hiredis
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from sensor_shared.adapters.redis_arguments import encoded

columns = st.lists(
    st.one_of(
        st.lists(st.text()).map(lambda values: pa.array(values, pa.string())),
        st.lists(st.binary()).map(lambda values: pa.array(values, pa.binary())),
    ),
    min_size=1,
    max_size=3,
)


@given(columns, st.integers(0, 3))
def test_columns_are_encoded_as_the_client_encodes_their_values(
    some: list[pa.Array], start: int
) -> None:
    sliced = [column.slice(start) for column in some]
    values = [value for column in sliced for value in column.to_pylist()]
    found = encoded(*sliced)
    assert found.count == len(values)
    assert b"*%d\r\n%s" % (found.count, found.arguments) == hiredis.pack_command(tuple(values))
