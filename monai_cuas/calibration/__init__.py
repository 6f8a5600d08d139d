# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""What normal scans say of a map: thresholds, guaranteed thresholds, p-values."""
