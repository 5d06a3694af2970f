// SPDX-License-Identifier: Apache-2.0

// The probe proves that the pinned mesos-go module is here and compiles: it names each of its packages that a
// scheduler needs and prints the library's spelling of a finished task.
package main

import (
	"fmt"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/backoff"
	"github.com/mesos/mesos-go/api/v1/lib/encoding/codecs"
	"github.com/mesos/mesos-go/api/v1/lib/extras/scheduler/callrules"
	"github.com/mesos/mesos-go/api/v1/lib/extras/scheduler/controller"
	"github.com/mesos/mesos-go/api/v1/lib/extras/scheduler/eventrules"
	"github.com/mesos/mesos-go/api/v1/lib/extras/store"
	"github.com/mesos/mesos-go/api/v1/lib/httpcli"
	"github.com/mesos/mesos-go/api/v1/lib/httpcli/httpsched"
	"github.com/mesos/mesos-go/api/v1/lib/resources"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler/calls"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler/events"
)

func main() {
	named := []interface{}{
		backoff.Notifier, callrules.New, calls.Subscribe, codecs.ByMediaType, controller.Run, events.Handlers{},
		eventrules.New, httpcli.New, httpsched.NewCaller, resources.Flatten, store.NewInMemorySingleton,
	}
	fmt.Println(mesos.TASK_FINISHED, len(named))
}
