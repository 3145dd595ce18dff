// All of weft but what asks for other libraries: <weft/asio.hpp> and <weft/cereal.hpp>.
#pragma once

#include <weft/archive.hpp>
#include <weft/call_graph.hpp>
#include <weft/capacity_limiter.hpp>
#include <weft/context_var.hpp>
#include <weft/coroutine.hpp>
#include <weft/error.hpp>
#include <weft/future.hpp>
#include <weft/gather.hpp>
#include <weft/offload.hpp>
#include <weft/process.hpp>
#include <weft/queue.hpp>
#include <weft/race.hpp>
#include <weft/run.hpp>
#include <weft/select.hpp>
#include <weft/sync.hpp>
#include <weft/task.hpp>
#include <weft/task_group.hpp>
#include <weft/task_status.hpp>
#include <weft/testing.hpp>
#include <weft/time.hpp>
#include <weft/wait.hpp>
