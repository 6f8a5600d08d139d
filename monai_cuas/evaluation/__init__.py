# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""How good a method is: evaluation of one, comparison of several, and their reports."""
