# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Files to arrays and back: NIfTI, DICOM, and what SimpleITK reads. Nothing here knows of transforms or networks."""
