// A shared library of the user's that calls to_process with functions of its own.
#pragma once

int answer_of_library(int half);
