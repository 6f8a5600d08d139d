# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0
