# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Who may ask a route: each is a parameter's type, and FastAPI refuses everybody else."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends
from monailabel.config import settings
from monailabel.endpoints.user.auth import RBAC, User

__all__ = ["SAVES", "Admin", "Annotator", "Reader"]

Reader = Annotated[User, Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_USER))]
Annotator = Annotated[User, Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_ANNOTATOR))]
Admin = Annotated[User, Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_ADMIN))]

SAVES = (settings.MONAI_LABEL_AUTH_ROLE_ANNOTATOR, settings.MONAI_LABEL_AUTH_ROLE_ADMIN)
"""Role names, as a token has them, of those who may save a label."""
