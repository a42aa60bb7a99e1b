"""Tests on a real, local Ray; `make test-ray` installs it."""

import pytest

pytest.importorskip("ray", reason="Ray is not installed; make test-ray installs it and runs these tests")
