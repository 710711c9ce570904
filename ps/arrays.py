"""The arrays that cross the table's interface, and how a wrong one is refused."""

from typing import Any

import numpy as np
import numpy.typing as npt

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
Uint32 = npt.NDArray[np.uint32]
Float32 = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
Bytes = npt.NDArray[np.uint8]


def check_array(array: object, name: str, dtype: Any, shape: tuple[int | None, ...]) -> None:
    """Raise ValueError unless `array` is a C-contiguous `dtype` array of this shape (None: any length)."""
    # A batch takes 200 µs: what is right must not wait for the words of a complaint.
    if isinstance(array, np.ndarray) and array.dtype == dtype and _fits(array.shape, shape):
        if array.flags.c_contiguous:
            return
        raise ValueError(f"{name}: a C-contiguous array is needed (numpy.ascontiguousarray)")
    wanted = f"{np.dtype(dtype).name}[{', '.join('n' if s is None else str(s) for s in shape)}]"
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{name}: a NumPy array {wanted} is needed, not {type(array).__name__}")
    got = f"{array.dtype.name}[{', '.join(map(str, array.shape))}]"
    raise ValueError(f"{name}: {wanted} is needed, not {got}")


def _fits(shape: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    return len(shape) == len(wanted) and all(w is None or w == s for w, s in zip(wanted, shape, strict=True))
