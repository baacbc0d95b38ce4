// The far limit: a processor in C++ on gRPC's own server that answers every message with "continue".
//
//     cpp_noop SOCKET_PATH
//
// One thread, one completion queue, one operation under way in each stream, and bytes that are not parsed: the
// first byte of a message is the tag of the phase that is set, as in noop.py. The answers are made once, from
// the messages that protoc generates out of the project's own .proto.

#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/grpcpp.h>

#include <array>
#include <memory>
#include <string>

#include "sidecar/extproc/wire/ext_proc.pb.h"

namespace {

using envoy::service::ext_proc::v3::ProcessingRequest;
using envoy::service::ext_proc::v3::ProcessingResponse;

using Answers = std::array<grpc::ByteBuffer, 256>;

grpc::ByteBuffer Serialised(const ProcessingResponse& response) {
  grpc::Slice slice(response.SerializeAsString());
  return grpc::ByteBuffer(&slice, 1);
}

Answers MakeAnswers() {
  Answers answers;
  const auto add = [&answers](const ProcessingRequest& request, const ProcessingResponse& response) {
    answers[static_cast<unsigned char>(request.SerializeAsString()[0])] = Serialised(response);
  };
  ProcessingRequest request;
  ProcessingResponse response;
  request.mutable_request_headers();
  response.mutable_request_headers();
  add(request, response);
  request.mutable_request_body();
  response.mutable_request_body();
  add(request, response);
  request.mutable_response_headers();
  response.mutable_response_headers();
  add(request, response);
  request.mutable_response_body();
  response.mutable_response_body();
  add(request, response);
  return answers;
}

class Call {
 public:
  Call(grpc::AsyncGenericService* service, grpc::ServerCompletionQueue* queue, const Answers* answers)
      : service_(service), queue_(queue), answers_(answers), stream_(&context_) {
    service_->RequestCall(&context_, &stream_, queue_, queue_, this);
  }

  // The operation under way has ended; `ok` says whether it did anything.
  void Proceed(bool ok) {
    switch (state_) {
      case State::kRequested:
        if (!ok) {
          delete this;
          return;
        }
        new Call(service_, queue_, answers_);
        Read();
        return;
      case State::kReading:
        ok ? Answer() : Finish();
        return;
      case State::kWriting:
        ok ? Read() : Finish();
        return;
      case State::kFinishing:
        delete this;
    }
  }

 private:
  enum class State { kRequested, kReading, kWriting, kFinishing };

  void Read() {
    state_ = State::kReading;
    stream_.Read(&message_, this);
  }

  void Answer() {
    grpc::Slice first;
    message_.TrySingleSlice(&first);
    if (first.size() == 0) message_.DumpToSingleSlice(&first);
    state_ = State::kWriting;
    stream_.Write((*answers_)[first.begin()[0]], this);
  }

  void Finish() {
    state_ = State::kFinishing;
    stream_.Finish(grpc::Status::OK, this);
  }

  grpc::AsyncGenericService* const service_;
  grpc::ServerCompletionQueue* const queue_;
  const Answers* const answers_;
  grpc::GenericServerContext context_;
  grpc::GenericServerAsyncReaderWriter stream_;
  grpc::ByteBuffer message_;
  State state_ = State::kRequested;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  const Answers answers = MakeAnswers();
  grpc::AsyncGenericService service;
  grpc::ServerBuilder builder;
  builder.AddListeningPort("unix:" + std::string(argv[1]), grpc::InsecureServerCredentials());
  builder.RegisterAsyncGenericService(&service);
  builder.SetMaxReceiveMessageSize(16 * 1024 * 1024);
  const std::unique_ptr<grpc::ServerCompletionQueue> queue = builder.AddCompletionQueue();
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr) return 1;
  new Call(&service, queue.get(), &answers);
  void* tag = nullptr;
  bool ok = false;
  while (queue->Next(&tag, &ok)) static_cast<Call*>(tag)->Proceed(ok);
  return 0;
}
