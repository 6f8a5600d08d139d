# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Transforms: reading and checking scans, preprocessing, postprocessing."""

from __future__ import annotations

from .anomaly import *  # noqa: F403
from .anomaly import __all__ as _anomaly
from .brain import *  # noqa: F403
from .brain import __all__ as _brain
from .intensity import *  # noqa: F403
from .intensity import __all__ as _intensity
from .io import *  # noqa: F403
from .io import __all__ as _io
from .post import *  # noqa: F403
from .post import __all__ as _post
from .presets import *  # noqa: F403
from .presets import __all__ as _presets
from .spatial import *  # noqa: F403
from .spatial import __all__ as _spatial

__all__ = [*_anomaly, *_brain, *_intensity, *_io, *_post, *_presets, *_spatial]
