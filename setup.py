"""The part of the build that pyproject.toml cannot say: the native kernel, which may be absent.

``ROTORTREE_NATIVE=off`` leaves it out.  ``ROTORTREE_REQUIRE_NATIVE=1`` makes it an error if it does
not build, instead of a warning; the same variables choose the kernel at run time (see
rotortree/kernel/__init__.py).
"""

from __future__ import annotations

import os
import sysconfig

from setuptools import Extension, setup

# A free-threaded CPython has no limited API yet; it takes the GIL for modules like this one.
LIMITED = not sysconfig.get_config_var("Py_GIL_DISABLED")

KERNEL = Extension(
    "rotortree.kernel._native",
    ["rotortree/kernel/_native.c"],
    depends=[f"rotortree/kernel/{name}.h" for name in ("_paths", "_tree", "_hashing", "_lanes")],
    define_macros=[("Py_LIMITED_API", "0x030B0000")] if LIMITED else [],
    # GCC schedules the rounds of BLAKE3 worse than they are written: 9 % of hashing.
    extra_compile_args=["-O3", "-fno-schedule-insns2", "-pthread"],
    extra_link_args=["-pthread"],
    py_limited_api=LIMITED,
    optional=os.environ.get("ROTORTREE_REQUIRE_NATIVE", "0") in ("", "0"),
)

setup(
    ext_modules=[] if os.environ.get("ROTORTREE_NATIVE") == "off" else [KERNEL],
    options={"bdist_wheel": {"py_limited_api": "cp311"}} if LIMITED else {},
)
